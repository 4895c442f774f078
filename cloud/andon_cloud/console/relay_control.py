"""The relay switch of a machine, and the dialog that asks before anything is switched."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nicegui import ui

from andon_cloud.console import words
from andon_cloud.console.dom import Text, icon, put, tag
from andon_cloud.console.feed import ConsoleFeed, FeedError, MachineView, RelayView
from andon_cloud.console.state import MachineState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

LEASES_S = {900: "15 minutes", 3600: "1 hour", 28_800: "8 hours (a shift)", 86_400: "24 hours"}
DEFAULT_LEASE_S = 28_800
MAX_REASON = 200


class RelayDialog:
    """One dialog per page: names the machine and the effect, wants a reason, then issues the command."""

    def __init__(self, feed: ConsoleFeed, actor: str, issued: Callable[[], Awaitable[None]]) -> None:
        self._feed = feed
        self._actor = actor
        self._issued = issued
        self._machine_id = ""
        self._relay = 0
        self._target = False
        self._dialog = ui.dialog().props('aria-labelledby="relay-dialog-title"')
        with self._dialog, ui.card().classes("ask"):
            self._title = Text("h2", "", "ask-title").props("id=relay-dialog-title")
            self._effect = Text("p", "", "ask-effect")
            self._warning = Text("p", "", "ask-warning")
            self._reason = (
                ui.input("Reason (kept in the audit log)")
                .props(f"outlined autofocus maxlength={MAX_REASON}")
                .classes("ask-field")
                .on("keydown.enter", self._confirm)
            )
            self._lease = ui.select(LEASES_S, value=DEFAULT_LEASE_S, label="For").props("outlined").classes("ask-field")
            Text("p", "Then the node puts the relay back into its safe state by itself.", "ask-hint")
            self._error = Text("p", "", "ask-error", role="alert")
            with tag("div", "ask-buttons"):
                ui.button("Cancel", on_click=self._dialog.close).props("flat no-caps color=none").classes("button")
                self._go = ui.button("", on_click=self._confirm).props("unelevated no-caps color=none")
                self._go.classes("button button-go")

    def ask(self, machine: MachineView, relay: RelayView) -> None:
        """Open the dialog to switch the relay to the opposite of what its contact shows."""
        self._machine_id, self._relay, self._target = machine.id, relay.channel, not relay.closed
        verb = "Close" if self._target else "Open"
        self._title.set_text(f"{verb} relay {relay.channel} of {machine.name}?")
        self._effect.set_text(
            f"The contact closes and {machine.name} may run again. Make sure that nobody is in the machine."
            if self._target
            else f"The contact opens and {machine.name} stops."
        )
        offline = machine.condition.state is MachineState.OFFLINE
        self._warning.set_text(
            "The node is not reporting: the command waits and expires if the node stays away." if offline else ""
        )
        self._go.set_text(f"{verb} relay {relay.channel}")
        put(self._go, "data-effect", "release" if self._target else "stop")
        self._reason.set_value("")
        self._error.set_text("")
        self._go.enable()
        self._dialog.open()

    async def _confirm(self) -> None:
        reason = (self._reason.value or "").strip()
        if not reason:
            self._error.set_text("Please say why: the reason is kept with the command.")
            return
        if not self._go.enabled:
            return
        self._go.disable()
        self._error.set_text("")
        try:
            await self._feed.switch_relay(
                self._machine_id,
                self._relay,
                state=self._target,
                lease_s=int(self._lease.value),
                reason=reason,
                actor=self._actor,
            )
        except FeedError as error:
            self._error.set_text(f"Not switched: {error}")
            return
        except Exception:  # whatever broke, the person must learn that nothing was confirmed
            log.exception("relay command from the console failed")
            self._error.set_text("It is not known whether the relay was switched: the cloud failed. Check the machine.")
            return
        finally:
            self._go.enable()
        self._dialog.close()
        await self._issued()


class RelayControl:
    """A relay's row on the tile: the switch, what the contact says, and how far the last command has come."""

    def __init__(self, machine: MachineView, relay: RelayView, dialog: RelayDialog) -> None:
        self._machine, self._relay, self._dialog = machine, relay, dialog
        with tag("div", "relay"):
            self._switch = tag("button", "switch", type="button", role="switch")
            self._switch.on("click", self._clicked)
            with self._switch:
                tag("span", "switch-knob")
            with tag("div", "relay-text"):
                Text("span", f"Relay {relay.channel}", "relay-name")
                self._contact = Text("span", "", "relay-contact")
                with tag("span", "command") as self._command:
                    self._sign = icon("schedule", "command-icon")
                    self._line = Text("span", "", "command-line")

    def show(self, machine: MachineView, relay: RelayView, now_ms: int) -> None:
        """Bring the row up to date."""
        self._machine, self._relay = machine, relay
        switch = self._switch
        put(switch, "aria-label", f"Relay {relay.channel} of {machine.name}")
        put(switch, "aria-checked", "true" if relay.closed else "false")
        put(switch, "aria-busy", "true" if relay.pending else None)
        put(switch, "disabled", True if relay.pending or relay.closed is None else None)
        self._contact.set_text(words.relay_line(relay))
        command = relay.command
        put(self._command, "data-status", command.status.value if command else "none")
        put(self._sign, "name", words.COMMAND_SIGNS[command.status].icon if command else "remove")
        self._line.set_text(words.command_line(command, now_ms))

    def _clicked(self) -> None:
        # The browser's button may lag a second behind; what counts is the state now.
        if not self._relay.pending and self._relay.closed is not None:
            self._dialog.ask(self._machine, self._relay)
