"""No module of the firmware needs itself, not even later: a circle cannot be loaded, or given back, in parts."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import pytest
from firmware.micropython_vm import FIRMWARE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PACKAGES = ("andon_base", "andon_node")


def modules(folder: Path) -> dict[str, Path]:
    """Files by the name that their modules are imported as."""
    return {
        ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in (folder / package).rglob("*.py")
    }


def needed(name: str, path: Path, known: Mapping[str, Path]) -> set[str]:
    """Modules that one imports anywhere in its code, at its top or in a function."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            found.update(inner if (inner := f"{origin}.{alias.name}") in known else origin for alias in node.names)
    return (found & known.keys()) - {name}


def circle(folder: Path) -> list[str]:
    """The modules of a circle in order, none where there is none."""
    known = modules(folder)
    graph = {name: needed(name, path, known) for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_firmware_has_no_circle_of_imports() -> None:
    assert circle(FIRMWARE) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("from andon_node.two import f", "from andon_node import one"),
        ("from . import two", "def late():\n    from .one import g"),
        ("import andon_node.two", "import andon_node.one"),
    ],
)
def test_a_circle_is_seen(tmp_path: Path, one: str, other: str) -> None:
    for name, text in (("one", one), ("two", other), ("__init__", "")):
        (tmp_path / "andon_node").mkdir(exist_ok=True)
        (tmp_path / f"andon_node/{name}.py").write_text(text)
    assert set(circle(tmp_path)) == {"andon_node.one", "andon_node.two"}
