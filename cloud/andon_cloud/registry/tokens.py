"""Gateway tokens: random 256 bits, of which only the SHA-256 is kept.

A slow password hash would add nothing: there is no dictionary of random 256-bit values.
"""

from __future__ import annotations

import hashlib
import secrets


def new_token() -> str:
    """A fresh token, shown once."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()
