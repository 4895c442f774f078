"""Gives the private names of a firmware module short names that all modules share.

MicroPython keeps each different name once, for ever, in tables that double when they are full. A private name
(`_clock`) is known in its module alone, so what it is called costs memory and means nothing to any other module. Line
numbers and public names stay, so tracebacks still point at the source. Pure.
"""

from __future__ import annotations

import ast
import io
import string
import tokenize
from itertools import count, product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def share_private_names(source: str) -> str:
    """Rename what a module defines with one leading underscore to `_a`, `_b`, ...

    Names that the module uses but does not define belong to somebody else and stay. Strings are not looked into: a name
    that is spelled out in one keeps working only if nothing here defines it, so such a name stays too.

    Raises:
        SyntaxError: the source is none.
    """
    tree = ast.parse(source)
    spelled = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    used = {token.string for token in tokens if token.type == tokenize.NAME}
    wanted = sorted(name for name in _defined(tree) if _is_private(name) and name not in spelled)
    fresh = (name for name in short_names() if name not in used - set(wanted))
    shorter = dict(zip(wanted, fresh, strict=False))
    lines = source.splitlines(keepends=True)
    for node in tree.body:
        # Constants are folded by the compiler; nothing is left that would call this.
        if (
            isinstance(node, ast.ImportFrom)
            and node.module == "micropython"
            and [n.name for n in node.names] == ["const"]
        ):
            lines[node.lineno - 1] = "pass\n"
    for token in reversed(tokens):
        if token.type == tokenize.NAME and token.string in shorter:
            row, begin = token.start[0] - 1, token.start[1]
            lines[row] = lines[row][:begin] + shorter[token.string] + lines[row][token.end[1] :]
    return "".join(lines)


def _is_private(name: str) -> bool:
    return len(name) > 1 and name.startswith("_") and not name.startswith("__")


def _defined(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.arg(arg=name)
            ):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                names.add(name)
    return names


def short_names() -> Iterator[str]:
    """`_a` to `_z`, `_aa` and so on."""
    for length in count(1):
        for letters in product(string.ascii_lowercase, repeat=length):
            yield "_" + "".join(letters)
