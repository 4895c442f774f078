"""Parts that a test needs and a machine may lack: skip with the way to get them, or fail where CI requires them."""

from __future__ import annotations

import os

import pytest


def require_part(name: str, *, found: bool, how: str) -> None:
    """Go on if the part was found; otherwise skip, or fail if `ANDON_REQUIRE` names it.

    Args:
        name: Short name as used in `ANDON_REQUIRE` (comma-separated), e.g. `influxdb`.
        found: Whether the part is there.
        how: The command that provides it, e.g. `make influxd`.
    """
    if found:
        return
    message = f"{name} is missing; get it with: {how}"
    required = {part.strip() for part in os.environ.get("ANDON_REQUIRE", "").split(",")}
    if name in required:
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
