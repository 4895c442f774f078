"""What every rung offers to a test: one board, its console's port, and hands on its pins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

from andon_workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from andon_workbench.rungs.capability import Capability


class RungError(WorkbenchError):
    """A rung cannot do what was asked of it."""


class Bench(Protocol):
    """One board on a bench. An async context manager: inside, it has power.

    Attributes:
        name: The rung's name, for messages.
        capabilities: What works here; calling what does not raises `RungError`.
        port: The console's port for `andon node`.
        host: Address of this machine as the board sees it, on which a gateway has to listen.
        uart: Number of the UART on the board that is its data line.
        template: `config.json` for this board without node id and gateway: one temperature 0, one counter 0, one relay 0.
    """

    name: str
    host: str
    uart: int
    capabilities: frozenset[Capability]

    @property
    def port(self) -> str:
        """The console's port."""

    @property
    def wire(self) -> Path:
        """The data line's end at this machine: a serial port or a pty, which may be opened at any time."""

    @property
    def template(self) -> dict[str, Any]:
        """The configuration to start from."""

    async def __aenter__(self) -> Self:
        """Give it power."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it, whatever happened."""

    async def set_temperature(self, celsius: float) -> None:
        """Set what its sensor measures from now on."""

    async def press(self, times: int) -> None:
        """Give this many pulses on the cycle input, at 10 Hz; returns when the last is over."""

    async def relay(self) -> bool:
        """Whether the output of relay 0 is energised."""

    async def power_cut(self) -> None:
        """Take the board's power."""

    async def power_on(self) -> None:
        """Give it back."""
