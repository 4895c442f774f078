"""What the workbench can fail with. Every message is one line that tells the person what to do."""

from __future__ import annotations


class WorkbenchError(Exception):
    """Base of everything the `andon` command reports as a one-line error."""


class CheckoutNotFoundError(WorkbenchError):
    """The rooms that the workbench starts (firmware, gateway, cloud) are not to be found."""


class PortInUseError(WorkbenchError):
    """A port that a component needs is taken; the message names the setting that moves it."""


class RegisterFileError(WorkbenchError):
    """A register file does not have the layout that docs/emulation.md describes, or was read too late."""


class ComponentError(WorkbenchError):
    """A process of the factory did not start, or ended when it should not."""


class CloudApiError(WorkbenchError):
    """The cloud's API refused a request or could not be reached."""


class MissingPartError(WorkbenchError):
    """A program that the chosen options need is not installed."""
