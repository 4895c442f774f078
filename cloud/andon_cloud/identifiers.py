"""Identifiers and numbers that every room agrees on (docs/protocol.md, Names)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

from pydantic import Field, StringConstraints

DNS_LABEL_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""RFC 1123 section 2.1: a DNS label in lower case."""

DnsLabel = Annotated[
    str,
    StringConstraints(pattern=DNS_LABEL_PATTERN),
    Field(description="DNS label: lower-case letters, digits and inner hyphens, at most 63 characters (RFC 1123 2.1)"),
]
Channel = Annotated[int, Field(ge=0, le=63, description="Channel of its kind on a node")]
EpochMs = Annotated[int, Field(ge=0, le=2**53, description="Milliseconds since the Unix epoch, UTC")]

Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$")]
"""Text for people on one line: control characters would garble logs, and PostgreSQL refuses U+0000."""

Clock = Callable[[], int]
"""Gives the present time in milliseconds since the epoch; passed in so that tests can simulate time."""


def system_clock() -> int:
    """The host's clock in milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000
