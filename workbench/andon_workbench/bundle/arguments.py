"""Gives the arguments of a firmware module's functions short names that all modules share.

Like a private name (names.py), the name of an argument costs memory for as long as the board runs, and means nothing outside
its function unless somebody calls with it (`limit=3`). Pure.
"""

from __future__ import annotations

import ast
import io
import tokenize
from typing import TYPE_CHECKING

from andon_workbench.bundle.names import short_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Place = tuple[int, int]


def spoken_names(sources: Iterable[str]) -> frozenset[str]:
    """Names that any of these modules calls with, as in `f(limit=3)`."""
    return frozenset(
        node.arg
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.keyword) and node.arg
    )


def share_argument_names(source: str, spoken: frozenset[str]) -> str:
    """Rename the arguments that can only be given by position to `_a`, `_b`, ...

    An argument with a default stays, and so does one that is given by keyword only, or whose name is in `spoken`.

    Raises:
        SyntaxError: the source is none.
    """
    tokens = [
        token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type != tokenize.COMMENT
    ]
    # What follows a dot is somebody's attribute, which an argument of the same name does not touch.
    names = {
        token.start: token.string
        for before, token in zip([None, *tokens[:-1]], tokens, strict=True)
        if token.type == tokenize.NAME and (before is None or before.string != ".")
    }
    spoken |= spoken_names([source])
    tree = ast.parse(source)
    # What `const` defines is replaced wherever its name stands.
    constants = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for function in _functions(tree):
        inside = [place for place in names if _begin(function) <= place < _end(function)]
        # Its own name, the first in it, belongs to those around it.
        inside.remove(next(place for place in inside if names[place] == function.name))
        used = constants | {names[place] for place in inside}
        fresh = (name for name in short_names() if name not in used)
        for argument in _positional(function):
            if argument in spoken | _fixed(function):
                continue
            shorter = next(fresh)
            names.update({place: shorter for place in inside if names[place] == argument})
    return _written(source, tokens, names)


def _functions(tree: ast.AST) -> Iterator[_Function]:
    # From the outside in: what a function has named anew is what those inside it mean by that name.
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        yield from _functions(node)


def _positional(function: _Function) -> list[str]:
    arguments = [*function.args.posonlyargs, *function.args.args]
    without_default = arguments[: len(arguments) - len(function.args.defaults)]
    return [item.arg for item in without_default if not item.arg.startswith("_") and item.arg not in ("self", "cls")]


def _fixed(function: _Function) -> set[str]:
    """Names that mean something else too inside a function: imported there, or in a text that has names in it."""
    # A default is worked out outside, where the name is another's.
    defaults = [*function.args.defaults, *filter(None, function.args.kw_defaults), *function.decorator_list]
    fixed = {inner.id for node in defaults for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    for node in ast.walk(function):
        if isinstance(node, ast.Import | ast.ImportFrom):
            fixed.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
            fixed.update(alias.name for alias in node.names)
        elif isinstance(node, ast.JoinedStr):
            fixed.update(inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))
        elif isinstance(node, ast.Global | ast.Nonlocal):
            fixed.update(node.names)
    return fixed


def _begin(function: _Function) -> _Place:
    return function.lineno, function.col_offset


def _end(function: _Function) -> _Place:
    return function.end_lineno or function.lineno, function.end_col_offset or 0


def _written(source: str, tokens: list[tokenize.TokenInfo], names: dict[_Place, str]) -> str:
    lines = source.splitlines(keepends=True)
    for token in reversed(tokens):
        name = names.get(token.start)
        if token.type == tokenize.NAME and name is not None and name != token.string:
            row = token.start[0] - 1
            lines[row] = lines[row][: token.start[1]] + name + lines[row][token.end[1] :]
    return "".join(lines)
