"""Who may speak for a node: whoever holds its keys, or, where the site's configuration says so by name, anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from andon_gateway.security.oscore_keys import KeyRing

Unprotected = Literal["*"]
Verdict = Literal["allowed", "unprotected", "identity"]


class AccessPolicy:
    """Decides by node and authenticated identity.

    Args:
        keys: Who has keys.
        allow_unprotected: Nodes that may speak unprotected; `*` stands for every node that has no keys.
    """

    def __init__(self, keys: KeyRing, allow_unprotected: Sequence[str] | Unprotected) -> None:
        self._keys = keys
        self._any = allow_unprotected == "*"
        self._names = frozenset(() if self._any else allow_unprotected)

    def verdict(self, node: str, identity: str | None) -> Verdict:
        """Whether a message about `node` is acceptable from `identity`, None for an unprotected one."""
        if identity is not None:
            return "allowed" if identity == node else "identity"
        return "allowed" if node in self._names or (self._any and self._keys.of_node(node) is None) else "unprotected"

    def open(self, node: str) -> bool:
        """Whether the node may speak, and be spoken to, unprotected."""
        return node in self._names or (self._any and self._keys.of_node(node) is None)


def refusal_text(verdict: Verdict, node: str, identity: str | None) -> str:
    """The diagnostic payload of a refusal."""
    if verdict == "identity":
        return f"the keys belong to {identity}, not to {node}"
    return f"{node} must use OSCORE here; the site's gateway.toml names no exception for it"
