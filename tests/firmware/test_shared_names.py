"""Short names: the module means the same afterwards, for everybody who knows it from outside."""

from __future__ import annotations

import ast
import dis
import subprocess
import tokenize
from io import StringIO
from types import CodeType
from typing import TYPE_CHECKING

import pytest
from firmware.micropython_vm import FIRMWARE, MICROPYTHON

from andon_workbench.bundle.arguments import share_argument_names, spoken_names
from andon_workbench.bundle.names import share_private_names
from andon_workbench.emulated_parts import emulated_parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCES = sorted(path for folder in ("andon_node", "andon_base", "sim") for path in (FIRMWARE / folder).rglob("*.py"))
# MicroPython's first six tables of names hold 1,260 beyond its own; the next one, for 1,280, takes 14 kB of a node's heap (9 kB where pointers have 32 bits).
TABLES = 6
EVERYTHING = """
import micropython, os, sys, vfs
with open(sys.argv[2], "rb") as file:
    vfs.mount(vfs.VfsRom(file.read()), "/sim")
sys.path[:] = ["/sim", sys.argv[1], ".frozen"]
def modules(folder, package):
    for name, kind, *_ in os.ilistdir(folder):
        if kind == 0x4000:
            yield from modules(folder + "/" + name, package + name + ".")
        elif name.endswith(".mpy"):
            yield package[:-1] if name == "__init__.mpy" else package + name[:-4]
for name in sorted(modules(sys.argv[1], "")):
    __import__(name)
micropython.qstr_info()
"""
SPOKEN = spoken_names(path.read_text() for path in SOURCES)

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


ARGUMENTS = """
_A = 7
class Scale:
    factor = 3
    def __init__(self, unit, offset, step=1):
        self.unit = unit
        self.offset = offset
        self.step = step
    def value(self, raw, unit):
        def shifted(raw, by):
            return raw + by + self.offset
        again = [raw for raw in (raw, raw + 1)]
        return shifted(raw, self.step), again, (lambda raw: raw * self.factor)(raw), {"unit": unit}, self.unit
def text(sep, *rest, end="."):
    import sys as platform
    return sep.join(rest) + end + platform.implementation.name
def counted(start, _a):
    total = start
    def more(by):
        nonlocal total
        total += by + _A
        return total
    return more(_a), more(by=2)
print(Scale("mm", 10).value(5, "in"), Scale(unit="mm", offset=1).unit, text("-", "a", "b", end="!"), counted(1, 2))
"""


def test_program_says_the_same_with_short_arguments() -> None:
    shorter = share_argument_names(ARGUMENTS, frozenset())
    assert run(shorter) == run(ARGUMENTS)
    assert "def text(_a, *rest" in shorter
    assert "def __init__(self, unit, offset, step=1)" in shorter, "called with these names"
    assert "raw" not in shorter
    assert "def text(sep" in share_argument_names(ARGUMENTS, frozenset({"sep"}))


def instructions(code: CodeType) -> Iterator[tuple[str, object, str | None]]:
    """What code does, without the order in which it notes its closures' variables, which is that of their names."""
    for step in dis.get_instructions(code):
        if step.opname in ("MAKE_CELL", "LOAD_CLOSURE"):
            continue
        if "FAST" in step.opname or "DEREF" in step.opname:
            yield step.opname, None, step.argval
        elif not isinstance(step.argval, CodeType):
            yield step.opname, step.argval, None


def compiled(source: str) -> CodeType:
    """A module without its annotations, which name the arguments and do nothing."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
    return compile(tree, "", "exec")


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(FIRMWARE)))
def test_arguments_alone_are_renamed_and_the_code_does_the_same(path: Path) -> None:
    source = share_private_names(path.read_text())
    shorter = share_argument_names(source, SPOKEN)
    pairs = zip(codes(compiled(source)), codes(compiled(shorter)), strict=True)
    for before, after in pairs:
        locals_of: dict[str | None, str | None] = {}
        for old, new in zip(instructions(before), instructions(after), strict=True):
            assert old[:2] == new[:2]
            # Each variable of a function to one of its own.
            assert locals_of.setdefault(old[2], new[2]) == new[2]
        assert len(set(locals_of.values())) == len(locals_of)
        taken = before.co_varnames[: before.co_argcount + before.co_kwonlyargcount]
        assert set(taken) & SPOKEN <= set(after.co_varnames)


def test_all_names_of_the_firmware_fit_into_the_tables_that_a_node_has_anyway(tmp_path: Path) -> None:
    """With every driver, board, link and the update loaded at once, which no node does."""
    parts = emulated_parts(FIRMWARE)
    script = tmp_path / "everything.py"
    script.write_text(EVERYTHING)
    command = [str(MICROPYTHON), "-X", "heapsize=2m", str(script), str(parts.firmware), str(parts.hardware)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    tables, names = (int(part.split("=")[1]) for part in done.stdout.split(": ")[1].split(", ")[:2])
    assert names > 1000
    assert tables <= TABLES, f"{names} names; count them by module, and share or drop some"
