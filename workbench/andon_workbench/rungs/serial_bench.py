"""A real board on a real port: whoever runs the tests has wired it, and says how."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from andon_workbench.errors import MissingPartError
from andon_workbench.rungs.bench import RungError
from andon_workbench.rungs.capability import SERIAL, Capability

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

TEMPLATE = "ANDON_BOARD_TEMPLATE"
HOST = "ANDON_BOARD_HOST"
WIRE = "ANDON_BOARD_WIRE"


def tied_to(environment: Mapping[str, str]) -> frozenset[Capability]:
    """What a board on a port can do, by what the environment says that it is tied to."""
    more = {Capability.NETWORK: HOST, Capability.WIRE: WIRE}
    return SERIAL | {capability for capability, name in more.items() if name in environment}


class SerialBench:
    """The board on `port`; what else it is tied to is in the environment: this machine's address, a port on its data line."""

    name = "serial"

    def __init__(self, port: str) -> None:
        """Take the wiring from the environment.

        Raises:
            MissingPartError: nobody said how the board is wired.
        """
        self.port = port
        template = os.environ.get(TEMPLATE)
        if template is None:
            raise MissingPartError(f"{TEMPLATE} is not set: the board's config.json, as for andon node provision")
        self.template: dict[str, Any] = json.loads(Path(template).read_text())
        self.host = os.environ.get(HOST, "127.0.0.1")
        self.wire = Path(os.environ.get(WIRE, os.devnull))
        self.uart = int(self.template.get("link", {}).get("uart", 1))
        self.capabilities = tied_to(os.environ)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def set_temperature(self, celsius: float) -> None:
        """Nobody can."""
        self._refuse(f"to be made {celsius} degC warm")

    async def press(self, times: int) -> None:
        """Nobody can."""
        self._refuse(f"{times} presses of its button")

    async def relay(self) -> bool:
        """Nobody can."""
        self._refuse("eyes on its relay")

    async def power_cut(self) -> None:
        """Nobody can."""
        self._refuse("its power to be cut")

    async def power_on(self) -> None:
        """Nobody can."""
        self._refuse("its power to be cut")

    def _refuse(self, what: str) -> NoReturn:
        raise RungError(f"{self.port}: a board on the desk would need {what}")
