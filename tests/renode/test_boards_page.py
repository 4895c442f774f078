"""docs/boards.md has the table rung x capability x test: compared with what the rungs declare and the end-to-end tests need."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from andon_workbench.rungs import ladder, serial_bench
from andon_workbench.rungs.capability import Capability

ROOT = Path(__file__).resolve().parents[2]
E2E = sorted((ROOT / "tests/e2e").glob("test_*.py"))
ROW = re.compile(r"\| `([a-z_]+)`[^|]*\| ([^|]*) \| ([^|]*) \| ([^|]*) \| ([^|]*) \|")
PAGE = (ROOT / "docs/boards.md").read_text()
ROWS = {found[1]: found for found in map(ROW.fullmatch, PAGE.splitlines()) if found}
# With everything that an environment can tie to a board.
BEST = {serial_bench.HOST: "192.0.2.1", serial_bench.WIRE: "/dev/null"}


def needed(nodes: list[ast.expr]) -> set[str]:
    """The names in `needs_capability(...)` of some decorators or of a `pytestmark`."""
    calls = [call for node in nodes for call in ast.walk(node) if isinstance(call, ast.Call)]
    return {
        argument.value
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "needs_capability"
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }


def needs_of(path: Path) -> dict[str, set[str]]:
    """What each test of a file needs."""
    tree = ast.parse(path.read_text())
    marks = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "pytestmark"
    ]
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {
        node.name: needed(marks) | needed(node.decorator_list) for node in functions if node.name.startswith("test_")
    }


def named(cell: str) -> set[tuple[str, str | None]]:
    """(file, function or None for all) of a cell; `::name` is of the file before it."""
    file, found = "", set()
    for words in re.findall(r"`([^`]+)`", cell):
        before, _, function = words.partition("::")
        file = before or file
        found.add((file, function or None))
    return found


def test_every_capability_has_a_row() -> None:
    assert set(ROWS) == {str(capability) for capability in Capability}


@pytest.mark.parametrize(("column", "rung"), [(2, "unix"), (3, "renode"), (4, "serial:/dev/ttyUSB0")])
def test_cells_say_what_the_rung_declares(column: int, rung: str) -> None:
    declared = {str(capability) for capability in ladder.declared(rung, BEST)}
    assert {name for name, row in ROWS.items() if not row[column].startswith("no")} == declared


@pytest.mark.parametrize("path", E2E, ids=lambda path: path.stem)
def test_every_test_declares_what_it_needs_and_stands_there(path: Path) -> None:
    """One that declares nothing would run, and count as passed, on rungs that it does not touch."""
    tests = needs_of(path)
    assert tests
    for function, wanted in tests.items():
        assert wanted, function
        for name in wanted:
            assert named(ROWS[name][5]) & {(path.name, None), (path.name, function)}, f"{function} needs {name}"


def test_every_test_that_a_row_names_exists_and_needs_it() -> None:
    known = {path.name: needs_of(path) for path in E2E}
    for name, row in ROWS.items():
        for file, function in named(row[5]):
            wanted = known[file].values() if function is None else [known[file][function]]
            assert all(name in needs for needs in wanted), (name, file, function)
