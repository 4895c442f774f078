"""What a rung can do for a test. Tests ask for capabilities; they never ask which rung they are on."""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    """One thing that tests may need; the value is its name in `needs_capability` and in docs/boards.md."""

    CONSOLE = "console"
    """A REPL that mpremote speaks to."""
    NODE = "node"
    """Heap and flash for the whole firmware."""
    NETWORK = "network"
    """Datagrams between the board and a gateway on this machine."""
    WIRE = "wire"
    """The other end of its data line (a UART beside the console) is a port of this machine."""
    SENSOR = "sensor"
    """The temperature that the board measures can be set."""
    CYCLES = "cycles"
    """Its cycle input can be pressed."""
    OUTPUTS = "outputs"
    """The level of its relay outputs can be seen from outside."""
    POWER_CUT = "power_cut"
    """Its power can be taken at any moment; the flash keeps what it has."""
    RESET_CAUSE = "reset_cause"
    """The board tells a watchdog's reset from others."""
    FLEET = "fleet"
    """Simulated machines with a ledger of what happened to them, many at once."""


ALL_UNIX = frozenset(Capability)
# A reset reads as cause 0 under Renode. Whether there is room for the node depends on the image, a TAP on the machine.
RENODE = frozenset(Capability) - {Capability.RESET_CAUSE, Capability.FLEET}
# Nobody presses its button.
SERIAL = frozenset({Capability.CONSOLE, Capability.NODE, Capability.RESET_CAUSE})
