"""The page of nodes that cannot report: waiting ones, each with what it has sent and a button to adopt it; and unknown keys."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from nicegui import ui

from andon_cloud.console import words
from andon_cloud.console.dom import Text, icon, tag
from andon_cloud.console.feed import ConsoleFeed, FeedError, FreeMachine, UnknownKeysView, WaitingNode, WaitingView
from andon_cloud.console.header import Header

if TYPE_CHECKING:
    from collections.abc import Callable

    from andon_cloud.console.pulse import Beat, Pulse

log = logging.getLogger(__name__)

MAX_REASON = 200


class AdoptDialog:
    """Asks which machine the node is mounted on, and why that is known, before anything is adopted."""

    def __init__(self, feed: ConsoleFeed, pulse: Pulse, actor: str) -> None:
        self._feed, self._pulse, self._actor = feed, pulse, actor
        self._node: WaitingNode | None = None
        self._names: dict[str, str] = {}
        self._dialog = ui.dialog().props('aria-labelledby="adopt-dialog-title"')
        with self._dialog, ui.card().classes("ask"):
            self._title = Text("h2", "", "ask-title").props("id=adopt-dialog-title")
            self._sent = Text("p", "", "ask-effect")
            self._machine = (
                ui.select({}, label="Mounted on", on_change=self._chosen).props("outlined").classes("ask-field")
            )
            self._none = Text("p", "", "ask-warning")
            self._reason = (
                ui.input("Reason (kept in the node's log)")
                .props(f"outlined maxlength={MAX_REASON}")
                .classes("ask-field")
                .on("keydown.enter", self._confirm)
            )
            Text(
                "p",
                "All that it has measured and will measure is stored under this machine, and the machine's relay switch acts on it.",
                "ask-hint",
            )
            self._error = Text("p", "", "ask-error", role="alert")
            with tag("div", "ask-buttons"):
                ui.button("Cancel", on_click=self._dialog.close).props("flat no-caps color=none").classes("button")
                self._go = ui.button("", on_click=self._confirm).props("unelevated no-caps color=none")
                self._go.classes("button button-go").props("data-effect=release")

    def ask(self, node: WaitingNode, machines: tuple[FreeMachine, ...]) -> None:
        """Open the dialog for one node."""
        self._node = node
        self._names = {machine.id: machine.name for machine in machines}
        self._title.set_text(f"Adopt {node.node}?")
        self._sent.set_text(f"It has sent {words.sent(node)}." if node.sent else "It has sent no reading yet.")
        options = {machine.id: f"{machine.name} · {machine.place}" for machine in machines}
        # Only a machine of the same name is proposed; any other choice is the person's.
        self._machine.set_options(options, value=node.node if node.node in options else None)
        self._none.set_text(
            "" if machines else "Every machine has a node. Register a machine first: POST /api/v1/machines"
        )
        self._reason.set_value("")
        self._error.set_text("")
        self._go.enable()
        self._chosen()
        self._dialog.open()

    def _chosen(self) -> None:
        if self._node is not None:
            name = self._names.get(str(self._machine.value))
            self._go.set_text(f"Adopt {self._node.node} on {name}" if name else "Adopt")

    async def _confirm(self) -> None:
        reason, node = (self._reason.value or "").strip(), self._node
        if node is None or not self._go.enabled:
            return
        if self._machine.value is None:
            self._error.set_text("Please choose the machine that the node is mounted on.")
            return
        if not reason:
            self._error.set_text("Please say why, such as who mounted it: the reason is kept with the node.")
            return
        self._go.disable()
        self._error.set_text("")
        try:
            await self._feed.adopt(node.gateway, node.node, str(self._machine.value), reason=reason, actor=self._actor)
        except FeedError as error:
            self._error.set_text(f"Not adopted: {error}")
            return
        except Exception:  # whatever broke, the person must learn that nothing was confirmed
            log.exception("adoption from the console failed")
            self._error.set_text(
                "It is not known whether the node was adopted: the cloud failed. Look at the machines."
            )
            return
        finally:
            self._go.enable()
        self._dialog.close()
        await self._pulse.beat_now()


class WaitingPage:
    """The page of one viewer."""

    def __init__(self, feed: ConsoleFeed, pulse: Pulse, actor: str) -> None:
        self._shown: WaitingView | None = None
        self._ages: list[tuple[Text, Callable[[int], str]]] = []
        self._header = Header()
        self._dialog = AdoptDialog(feed, pulse, actor)
        with tag("main", "page") as main:
            with ui.link(target="/").classes("back"):
                icon("arrow_back")
                Text("span", "All machines")
            Text("h1", "Nodes that cannot report", "machine-name")
            Text("p", "Gateways hear them; their readings reach no machine until somebody acts.", "machine-place")
            with tag("section", "panel", aria_label="Waiting nodes"):
                Text("h2", "Waiting for a machine", "panel-title")
                self._nodes = tag("div", "commands")
            with tag("section", "panel panel-next", aria_label="Unknown keys"):
                Text("h2", "Unknown keys", "panel-title")
                self._keys = tag("div", "commands")
        ui.skip_link("Skip to the nodes", target=main)

    def show(self, beat: Beat) -> None:
        """Bring the page up to date; lists are built anew only when they say something else."""
        self._header.show(beat)
        if beat.factory is not None and beat.factory.waiting != self._shown:
            self._list(beat.factory.waiting)
        for text, line in self._ages:
            text.set_text(line(beat.now_ms))

    def _list(self, waiting: WaitingView) -> None:
        self._shown = waiting
        self._ages.clear()
        self._nodes.clear()
        with self._nodes:
            if not waiting.nodes:
                Text("p", "No node waits.", "empty")
            for node in waiting.nodes:
                self._node(node, waiting)
        self._keys.clear()
        with self._keys:
            if not waiting.keys:
                Text("p", "Every node that speaks has keys that its gateway knows.", "empty")
            for keys in waiting.keys:
                self._one_key(keys)

    def _node(self, node: WaitingNode, waiting: WaitingView) -> None:
        with tag("article", "entry waiting", aria_label=f"{node.node} at {node.gateway}"):
            with tag("div", "waiting-text"):
                with tag("div", "entry-head"):
                    Text("strong", node.node)
                    Text("span", f"at {node.gateway}, {node.address or 'address unknown'}", "entry-who")
                self._ages.append((Text("p", "", "entry-who"), partial(words.waiting_line, node)))
                Text("p", words.sent(node), "entry-what")
            button = ui.button("Adopt", on_click=lambda: self._dialog.ask(node, waiting.free_machines))
            button.props(f'unelevated no-caps color=none aria-label="Adopt {node.node}"').classes("button button-go")
            button.props("data-effect=release")

    def _one_key(self, keys: UnknownKeysView) -> None:
        with tag("article", "entry", aria_label=f"Keys {keys.kid} at {keys.gateway}"):
            with tag("div", "entry-head"):
                Text("strong", words.keys_title(keys))
                Text("span", f"at {keys.gateway}, {keys.address}", "entry-who")
            self._ages.append((Text("p", "", "entry-who"), partial(words.keys_line, keys)))
            Text("p", words.keys_advice(keys), "entry-what")


async def build_waiting_page(feed: ConsoleFeed, pulse: Pulse, actor: str) -> None:
    """Build the page in the current NiceGUI client and keep it up to date until the client is gone."""
    page = WaitingPage(feed, pulse, actor)
    page.show(await pulse.current())
    ui.context.client.on_delete(pulse.watch(page.show))
