"""Short private names: the module means the same afterwards, for everybody who knows it from outside."""

from __future__ import annotations

import ast
import subprocess
import tokenize
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from firmware.micropython_vm import FIRMWARE, MICROPYTHON

from andon_workbench.bundle.names import share_private_names

if TYPE_CHECKING:
    from pathlib import Path

SOURCES = sorted(path for folder in ("andon_node", "andon_base", "sim") for path in (FIRMWARE / folder).rglob("*.py"))

PROGRAM = """
import sys
from micropython import const
_LIMIT = const(3)
_count = 0
class Base:
    _shared = "of the class"
    def __init__(self, _first, second=2):
        self._first = _first
        self.second = second
    def _hidden(self):
        return self._first + self.second
    def shown(self):
        return self._hidden() + _LIMIT
class Child(Base):
    def _hidden(self):
        return 100 * self._first
def _count_up(_a=1):
    global _count
    _count += _a
    return _count
_a = _b = "taken names"
for _ in range(2):
    _count_up(_a=5)
print(Base(1).shown(), Child(2).shown(), Child._shared, _count, _a, _b, "_hidden stays in texts")
print(hasattr(Base(1), "_spelled"), getattr(sys.implementation, "_mpy", 0) > 0, sys.implementation._machine != "")
class Spelled:
    def __init__(self):
        self._spelled = 1
print(hasattr(Spelled(), "_spelled"))
"""


def run(source: str) -> str:
    done = subprocess.run([MICROPYTHON, "-c", source], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_program_says_the_same_with_short_names() -> None:
    shorter = share_private_names(PROGRAM)
    assert run(shorter) == run(PROGRAM)
    assert "_count_up" not in shorter
    assert "def _hidden" not in shorter


def names(source: str) -> list[tuple[int, str]]:
    return [
        (token.start[0], token.string)
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.NAME
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(FIRMWARE)))
def test_only_private_names_change_and_each_to_its_own(path: Path) -> None:
    source = path.read_text()
    shorter = share_private_names(source)
    ast.parse(shorter)
    before = [item for item in names(source) if item[1] not in ("from", "micropython", "import", "const")]
    after = [item for item in names(shorter) if item[1] not in ("from", "micropython", "import", "const", "pass")]
    before = [item for item in before if item[1] != "pass"]
    assert [line for line, _ in before] == [line for line, _ in after]
    pairs = {(old, new) for (_, old), (_, new) in zip(before, after, strict=True)}
    assert all(old == new or (old.startswith("_") and new.startswith("_")) for old, new in pairs)
    # One to one: no two names of a module became one.
    assert len({old for old, _ in pairs}) == len({new for _, new in pairs}) == len(pairs)
