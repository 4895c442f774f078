"""The page of one machine: its light and figures, temperature and cycles over time, commands and configurations with their audit times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING

from nicegui import ui

from andon_cloud.console import words
from andon_cloud.console.chart import cycles_options, temperature_options
from andon_cloud.console.configuration_panel import ConfigurationDialog, ConfigurationPanel
from andon_cloud.console.dom import Text, icon, put, tag
from andon_cloud.console.feed import (
    CommandView,
    ConsoleFeed,
    FeedError,
    MachineDetail,
    MachineView,
    UnknownMachineError,
)
from andon_cloud.console.header import Header
from andon_cloud.console.order_entry import order_entry
from andon_cloud.console.relay_control import RelayDialog
from andon_cloud.console.tile import AndonLight, Gauges, RelayPanel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nicegui.client import Client

    from andon_cloud.console.pulse import Beat, Pulse

SPANS_S = {900: "15 min", 3600: "1 h", 28_800: "8 h", 86_400: "24 h"}
DETAIL_PERIOD_S = 5.0
"""Seconds between two reads of the history; the figures above follow the pulse."""


class MachinePage:
    """The page of one viewer for one machine."""

    def __init__(self, machine: MachineView, feed: ConsoleFeed, pulse: Pulse, actor: str) -> None:
        self.machine_id = machine.id
        self.span_s = 900
        self._zone: tzinfo = UTC
        self._commands_shown: tuple[CommandView, ...] | None = None
        self._header = Header()
        dialog = RelayDialog(feed, actor, pulse.beat_now)
        configuration_dialog = ConfigurationDialog(feed, actor, self._history_again)
        with tag("main", "page") as main:
            with ui.link(target="/").classes("back"):
                icon("arrow_back")
                Text("span", "All machines")
            Text("h1", machine.name, "machine-name")
            Text("p", f"{machine.kind} · {machine.id} · {words.place(machine)}", "machine-place")
            self._node = Text("p", "", "machine-place machine-node")
            with tag("div", "machine-top"):
                with tag("article", "tile tile-wide", aria_label=f"{machine.name} now") as self._tile:
                    self._light = AndonLight()
                    with tag("div", "tile-body"):
                        self._gauges = Gauges()
                        self._relays = RelayPanel(dialog)
                self._charts()
            with tag("section", "panel", aria_label="Commands"):
                Text("h2", "Recent relay commands", "panel-title")
                self._commands = tag("div", "commands")
            self._configurations = ConfigurationPanel(configuration_dialog, self._time)
        ui.skip_link("Skip to the machine", target=main)

    async def _history_again(self) -> None:
        if self.on_span is not None:
            await self.on_span()

    def _charts(self) -> None:
        with tag("div", "charts"):
            self._spans: dict[int, ui.element] = {}
            self.on_span: Callable[[], Awaitable[None]] | None = None
            with tag("div", "spans", role="group", aria_label="Time span"):
                for span_s, name in SPANS_S.items():
                    self._span_button(span_s, name)
            with tag("section", "panel", aria_label="Temperature over time"):
                Text("h2", "Temperature", "panel-title")
                self._temperature = ui.echart(temperature_options((), 0, 1), renderer="svg").classes("chart")
            with tag("section", "panel", aria_label="Cycles over time"):
                self._cycles_title = Text("h2", "Cycles", "panel-title")
                self._cycles = ui.echart(cycles_options((), 0, 1), renderer="svg").classes("chart chart-low")

    def _span_button(self, span_s: int, name: str) -> None:
        async def choose() -> None:
            self.span_s = span_s
            if self.on_span is not None:
                await self.on_span()

        button = tag("button", "span", type="button", aria_pressed="false")
        button.on("click", choose)
        with button:
            Text("span", name)
        self._spans[span_s] = button

    def show(self, beat: Beat) -> None:
        """Bring head, light, figures and relays up to date."""
        self._header.show(beat)
        found = [machine for machine in beat.factory.machines if machine.id == self.machine_id] if beat.factory else []
        for machine in found:
            put(self._tile, "data-state", machine.condition.state.value)
            self._node.set_text(
                " / ".join(words.node_line(node, beat.now_ms) for node in machine.nodes) or "No node yet"
            )
            self._light.show(machine, beat.now_ms)
            self._gauges.show(machine, beat.now_ms)
            self._relays.show(machine, beat.now_ms)

    def show_detail(self, detail: MachineDetail, now_ms: int) -> None:
        """Bring charts and command table up to date."""
        start_ms = now_ms - detail.span_s * 1000
        for span_s, button in self._spans.items():
            put(button, "aria-pressed", "true" if span_s == detail.span_s else "false")
        self._temperature.options.update(temperature_options(detail.temperature, start_ms, now_ms))
        self._temperature.update()
        self._cycles.options.update(cycles_options(detail.cycles, start_ms, now_ms))
        self._cycles.update()
        self._cycles_title.set_text(f"Cycles per {words.lease(detail.cycles_window_s).removeprefix('1 ')}")
        made = sum(point.value for point in detail.cycles)
        span = SPANS_S.get(detail.span_s, words.lease(detail.span_s))
        values = [point.value for point in detail.temperature]
        extent = f"{min(values):.1f} to {max(values):.1f} °C" if values else "no readings"
        _describe(self._temperature, f"Temperature of the last {span}: {extent}")
        _describe(self._cycles, f"Cycles of the last {span}: {made:.0f}")
        if detail.commands != self._commands_shown:
            self._commands_shown = detail.commands
            self._list_commands(detail.commands)

        self._configurations.show(detail.machine.nodes, detail.configurations)

    def use_zone(self, zone: tzinfo) -> None:
        """Show times of day in the viewer's time zone from now on."""
        self._zone = zone
        if self._commands_shown is not None:
            self._list_commands(self._commands_shown)
            self._configurations.list_again()

    def _list_commands(self, commands: tuple[CommandView, ...]) -> None:
        self._commands.clear()
        with self._commands:
            if not commands:
                Text("p", "No commands yet.", "empty")
            for command in commands:
                self._command(command)

    def _command(self, command: CommandView) -> None:
        verb = "Close" if command.state else "Open"
        what = f"{verb} relay {command.relay} for {words.lease(command.lease_s)}"
        order_entry(command, what, command.status, command.times, words.COMMAND_SIGNS, self._time)

    def _time(self, time_ms: int) -> None:
        moment = datetime.fromtimestamp(time_ms / 1000, tz=UTC)
        local = moment.astimezone(self._zone)
        zone = " UTC" if self._zone is UTC else ""
        text = f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d}{zone}"
        Text("time", text, datetime=moment.isoformat())


def _describe(chart: ui.echart, text: str) -> None:
    put(chart, "role", "img")
    put(chart, "aria-label", text)


async def build_machine_page(machine_id: str, feed: ConsoleFeed, pulse: Pulse, actor: str) -> None:
    """Build the page in the current NiceGUI client and keep it up to date until the client is gone."""
    client = ui.context.client
    beat = await pulse.current()
    try:
        detail = await feed.machine(machine_id, 900)
    except FeedError as error:
        _refusal(beat, machine_id, error)
        return
    page = MachinePage(detail.machine, feed, pulse, actor)
    page.show(beat)
    page.show_detail(detail, beat.now_ms)
    client.on_delete(pulse.watch(page.show))
    _follow_history(page, feed, pulse)
    client.on_connect(lambda: _ask_zone(client, page))


def _refusal(beat: Beat, machine_id: str, error: FeedError) -> None:
    Header().show(beat)
    with tag("main", "page"):
        unknown = isinstance(error, UnknownMachineError)
        Text("h1", f"No machine {machine_id}" if unknown else "No data now", "machine-name")
        Text("p", str(error), "empty", role="alert")
        ui.link("All machines", "/")


def _follow_history(page: MachinePage, feed: ConsoleFeed, pulse: Pulse) -> None:
    async def refresh() -> None:
        try:
            detail = await feed.machine(page.machine_id, page.span_s)
        except FeedError:
            return  # the head's banner tells it: the pulse meets the same trouble
        page.show_detail(detail, (await pulse.current()).now_ms)

    page.on_span = refresh
    ui.timer(DETAIL_PERIOD_S, refresh, immediate=False)


async def _ask_zone(client: Client, page: MachinePage) -> None:
    """Ask the browser for its offset from UTC: the cloud's own zone says nothing about the factory's."""
    try:
        minutes = await client.run_javascript("return new Date().getTimezoneOffset()", timeout=5)
    except TimeoutError:
        return
    with client:
        page.use_zone(timezone(timedelta(minutes=-int(minutes))))
