"""The tile of one machine: built once, then only what changed is sent to the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import ui

from andon_cloud.console import words
from andon_cloud.console.dom import Text, icon, put, tag
from andon_cloud.console.relay_control import RelayControl, RelayDialog
from andon_cloud.console.sparkline import HEIGHT, WIDTH, draw_sparkline
from andon_cloud.console.state import age_text

if TYPE_CHECKING:
    from andon_cloud.console.feed import MachineView

TREND_S = 600
"""Seconds of temperature that the sparkline shows."""


class AndonLight:
    """The band that is seen from across the hall: colour, icon and word."""

    def __init__(self) -> None:
        with tag("div", "light") as self._band:
            self._icon = icon("wifi_off", "light-icon")
            with tag("div", "light-text"):
                self._word = Text("strong", "", "light-word")
                self._reason = Text("span", "", "light-reason")
            self._age = Text("span", "", "light-age")

    def show(self, machine: MachineView, now_ms: int) -> None:
        """Bring the band up to date."""
        sign = words.STATE_SIGNS[machine.condition.state]
        put(self._band, "data-state", machine.condition.state.value)
        put(self._icon, "name", sign.icon)
        self._word.set_text(sign.word)
        self._reason.set_text(machine.condition.reason)
        self._age.set_text(age_text(machine.last_seen_ms, now_ms))
        put(self._age, "aria-label", f"Last seen: {age_text(machine.last_seen_ms, now_ms)}")


class Gauges:
    """Temperature with its trend, cycle rate and cycle count."""

    def __init__(self) -> None:
        with tag("dl", "gauges"):
            with tag("div", "gauge gauge-temperature"):
                Text("dt", "Temperature")
                with tag("dd"):
                    self._temperature = Text("span", "", "figure")
                    Text("span", "°C", "unit")
            with tag("div", "gauge gauge-rate"):
                Text("dt", "Rate")
                with tag("dd"):
                    self._rate = Text("span", "", "figure")
                    Text("span", "/min", "unit")
            with tag("div", "gauge gauge-cycles"):
                Text("dt", "Cycles")
                with tag("dd"):
                    self._cycles = Text("span", "", "figure")
        box = {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "preserveAspectRatio": "none"}
        with tag("svg", "trend", role="img", **box) as self._trend:
            self._area = tag("path", "trend-area")
            self._line = tag("path", "trend-line")

    def show(self, machine: MachineView, now_ms: int) -> None:
        """Bring the figures up to date; the trend moves in steps of ten seconds, so it is not sent every second."""
        self._temperature.set_text(words.number(machine.temperature_c, 1))
        self._rate.set_text(words.rate(machine.cycles_per_min))
        self._cycles.set_text(words.number(machine.cycles_total))
        stop_ms = now_ms - now_ms % 10_000 + 10_000
        drawn = draw_sparkline(machine.temperature_trend, stop_ms - TREND_S * 1000, stop_ms)
        put(self._line, "d", drawn.line)
        put(self._area, "d", drawn.area)
        values = [point.value for point in machine.temperature_trend]
        extent = f"{min(values):.1f} to {max(values):.1f} °C" if values else "no readings"
        put(self._trend, "aria-label", f"Temperature of the last {TREND_S // 60} minutes: {extent}")


class RelayPanel:
    """All relays of a machine; rows appear when a relay is first reported."""

    def __init__(self, dialog: RelayDialog) -> None:
        self._dialog = dialog
        self._rows: dict[int, RelayControl] = {}
        self._panel = tag("div", "relays")
        with self._panel:
            self._none = Text("span", "No relay reported", "relay-none")

    def show(self, machine: MachineView, now_ms: int) -> None:
        """Bring every row up to date."""
        self._none.set_visibility(not machine.relays)
        for relay in machine.relays:
            if relay.channel not in self._rows:
                with self._panel:
                    self._rows[relay.channel] = RelayControl(machine, relay, self._dialog)
            self._rows[relay.channel].show(machine, relay, now_ms)


class Tile:
    """Everything about one machine at a glance."""

    def __init__(self, machine: MachineView, dialog: RelayDialog) -> None:
        with tag("article", "tile", data_machine=machine.id) as self.element:
            self._light = AndonLight()
            with tag("div", "tile-body"):
                with tag("h3", "tile-name"):
                    self._name = ui.link(machine.name, f"/machines/{machine.id}")
                self._kind = Text("p", "", "tile-kind")
                self._gauges = Gauges()
                self._relays = RelayPanel(dialog)

    def show(self, machine: MachineView, now_ms: int) -> None:
        """Bring the tile up to date."""
        state = machine.condition.state
        put(self.element, "data-state", state.value)
        put(self.element, "aria-label", f"{machine.name}: {words.STATE_SIGNS[state].word}")
        self._name.set_text(machine.name)
        self._kind.set_text(f"{machine.kind} · {machine.id}")
        self._light.show(machine, now_ms)
        self._gauges.show(machine, now_ms)
        self._relays.show(machine, now_ms)
