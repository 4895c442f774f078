"""The factory page: one tile per machine, grouped by line, always in the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import ui

from andon_cloud.console import words
from andon_cloud.console.dom import Text, put, tag
from andon_cloud.console.header import Header, Totals
from andon_cloud.console.relay_control import RelayDialog
from andon_cloud.console.tile import Tile

if TYPE_CHECKING:
    from nicegui.element import Element

    from andon_cloud.console.feed import ConsoleFeed, MachineView
    from andon_cloud.console.pulse import Beat, Pulse
    from andon_cloud.console.state import MachineState


class FactoryPage:
    """The page of one viewer."""

    def __init__(self, feed: ConsoleFeed, pulse: Pulse, actor: str) -> None:
        self._header = Header()
        self._dialog = RelayDialog(feed, actor, pulse.beat_now)
        self._lines: dict[str, Element] = {}
        self._tiles: dict[str, Tile] = {}
        with tag("main", "page") as self._main:
            Text("h1", "Machines", "unseen")
            self._totals = Totals(self._filter)
            self._empty = Text("p", "", "empty")
            self._hall = tag("div", "hall")
        ui.skip_link("Skip to the machines", target=self._hall)

    def show(self, beat: Beat) -> None:
        """Bring the page up to date; machines that were registered or removed meanwhile appear or go."""
        self._header.show(beat)
        if beat.factory is None:
            self._empty.set_text("Waiting for the first data.")
            return
        self._totals.show(beat.factory)
        machines = beat.factory.machines
        self._empty.set_text("" if machines else "No machines yet. Register one through the API: POST /api/v1/machines")
        for gone in self._tiles.keys() - {machine.id for machine in machines}:
            self._tiles.pop(gone).element.delete()
        for machine in machines:
            self._tile(machine).show(machine, beat.now_ms)

    def _tile(self, machine: MachineView) -> Tile:
        tile = self._tiles.get(machine.id)
        if tile is None:
            with self._line(words.place(machine)):
                tile = self._tiles[machine.id] = Tile(machine, self._dialog)
        return tile

    def _line(self, place: str) -> Element:
        grid = self._lines.get(place)
        if grid is None:
            with self._hall, tag("section", "line", aria_label=place):
                Text("h2", place, "line-name")
                grid = self._lines[place] = tag("div", "tiles")
        return grid

    def _filter(self, state: MachineState | None) -> None:
        put(self._main, "data-filter", state.value if state else None)


async def build_factory_page(feed: ConsoleFeed, pulse: Pulse, actor: str) -> None:
    """Build the page in the current NiceGUI client and keep it up to date until the client is gone."""
    page = FactoryPage(feed, pulse, actor)
    page.show(await pulse.current())
    ui.context.client.on_delete(pulse.watch(page.show))
