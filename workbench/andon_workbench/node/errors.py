"""What working on a board can fail with. Every message is one line that says what to do."""

from __future__ import annotations

from andon_workbench.errors import WorkbenchError


class NodeError(WorkbenchError):
    """Base of what `andon node` reports."""


class PortError(NodeError):
    """The serial port cannot be opened: absent, busy, or not permitted."""


class PortLostError(NodeError):
    """The port vanished or fell silent in the middle of the work; nothing half-written is active."""


class BoardSilentError(NodeError):
    """Something is on the port, but its raw REPL does not answer; the message says what was heard and what to try."""


class BoardError(NodeError):
    """The board answered with an exception."""


class VerifyError(NodeError):
    """What is on the board is not what was sent."""


class ConfigRefusedError(NodeError):
    """The node's own validator refuses the configuration; nothing was written."""
