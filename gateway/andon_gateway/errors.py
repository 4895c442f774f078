"""What can go wrong in the gateway, as the rest of the package sees it."""

from __future__ import annotations


class GatewayError(Exception):
    """Base of every error that the gateway raises on purpose."""


class SettingsError(GatewayError):
    """The configuration cannot be used; the message names file, key and what was expected."""


class PackRefused(GatewayError):  # noqa: N818 -- a refusal is an answer to the node, not a fault of ours
    """A telemetry pack is refused whole; the message is the diagnostic payload for the node."""


class StorageUnavailable(GatewayError):  # noqa: N818 -- names a state that passes by itself (full disk), not a bug
    """The spool could not make something durable (disk full or failing); trying again later may work."""
