"""The head of every page: name, plant totals, data flow, time, theme; and the banner when data cannot be had."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nicegui import ui

from andon_cloud.console import words
from andon_cloud.console.dom import Text, icon, put, tag
from andon_cloud.console.state import MachineState, age_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_cloud.console.feed import FactoryView
    from andon_cloud.console.pulse import Beat

_TOGGLE_THEME = """() => {
    const dark = !Quasar.Dark.isActive;
    Quasar.Dark.set(dark);
    localStorage.setItem('andon-theme', dark ? 'dark' : 'light');
}"""


class Header:
    """Brand, flow of data and theme switch; the same on every page."""

    def __init__(self) -> None:
        with tag("header", "head"):
            with ui.link(target="/").classes("brand").props('aria-label="Andon: all machines"'):
                with tag("span", "brand-mark", aria_hidden="true"):
                    for colour in ("red", "amber", "green"):
                        tag("span", f"lamp lamp-{colour}")
                Text("span", "Andon", "brand-name")
            self._site = Text("span", "", "head-site")
            with tag("div", "flow", role="status", aria_live="off"):
                with tag("span", "flow-item") as self._gateway:
                    self._gateway_icon = icon("router")
                    self._gateway_text = Text("span")
                with tag("span", "flow-item"):
                    icon("sensors")
                    self._readings = Text("span")
                with tag("span", "flow-item flow-age"):
                    icon("update")
                    self._age = Text("span")
            with ui.link(target="/waiting").classes("flow-item waiting-link") as self._waiting:
                icon("person_add")
                self._waiting_text = Text("span")
            self._waiting.set_visibility(False)
            theme = tag("button", "theme", type="button", aria_label="Switch between dark and light")
            theme.on("click", js_handler=_TOGGLE_THEME)
            with theme:
                icon("contrast")
        self._trouble = tag("div", "trouble", role="alert")
        with self._trouble:
            icon("cloud_off")
            self._trouble_text = Text("span")
        self._trouble.set_visibility(False)

    def show(self, beat: Beat) -> None:
        """Bring the head up to date."""
        self._trouble.set_visibility(beat.trouble is not None)
        factory = beat.factory
        if beat.trouble is not None:
            since = f" Showing values from {age_text(factory.taken_ms, beat.now_ms)}." if factory else ""
            self._trouble_text.set_text(f"{beat.trouble}{since}")
        if factory is None:
            return
        sites = sorted({machine.site for machine in factory.machines})
        self._site.set_text(", ".join(sites))
        self._show_flow(factory, beat.now_ms)
        count = factory.waiting.count
        self._waiting.set_visibility(count > 0)
        self._waiting_text.set_text("1 node cannot report" if count == 1 else f"{count} nodes cannot report")

    def _show_flow(self, factory: FactoryView, now_ms: int) -> None:
        connected = sum(gateway.connected for gateway in factory.gateways)
        known = len(factory.gateways)
        ok = known > 0 and connected == known
        put(self._gateway, "data-ok", "true" if ok else "false")
        put(self._gateway_icon, "name", "router" if ok else "link_off")
        if known == 0:
            text = "No gateway"
        elif known == 1:
            text = "Gateway connected" if ok else "Gateway not connected"
        else:
            text = f"{connected} of {known} gateways connected"
        self._gateway_text.set_text(text)
        rate = factory.readings_per_s
        self._readings.set_text(f"{words.rate(rate)} readings/s")
        newest = max((machine.last_seen_ms or 0 for machine in factory.machines), default=0)
        self._age.set_text(f"newest {age_text(newest or None, now_ms)}")


class Totals:
    """Machines by state; each count is a button that shows only those machines."""

    def __init__(self, filtered: Callable[[MachineState | None], None]) -> None:
        self._filtered = filtered
        self._chosen: MachineState | None = None
        self._counts: dict[MachineState, Text] = {}
        self._buttons: dict[MachineState, ui.element] = {}
        with tag("div", "totals", role="group", aria_label="Machines by state"):
            for state in MachineState:
                self._build(state)

    def _build(self, state: MachineState) -> None:
        button = tag("button", "total", type="button", aria_pressed="false", data_state=state.value)
        button.on("click", lambda: self._choose(state))
        with button:
            icon(words.STATE_SIGNS[state].icon, "total-icon")
            self._counts[state] = Text("span", "0", "total-count")
            Text("span", words.STATE_SIGNS[state].word, "total-word")
        self._buttons[state] = button

    def show(self, factory: FactoryView) -> None:
        """Bring the counts up to date."""
        counts = Counter(machine.condition.state for machine in factory.machines)
        for state, text in self._counts.items():
            text.set_text(str(counts[state]))
            put(self._buttons[state], "data-some", "true" if counts[state] else "false")
            put(self._buttons[state], "aria-label", f"{counts[state]} {words.STATE_SIGNS[state].word}, show only these")

    def _choose(self, state: MachineState) -> None:
        self._chosen = None if self._chosen is state else state
        for each, button in self._buttons.items():
            put(button, "aria-pressed", "true" if each is self._chosen else "false")
        self._filtered(self._chosen)
