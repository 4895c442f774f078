"""The panel of a machine's node configurations: what became of each, and the dialog that gives the node a new one."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from nicegui import ui

from andon_cloud.console import words
from andon_cloud.console.dom import Text, tag
from andon_cloud.console.feed import ConsoleFeed, FeedError
from andon_cloud.console.order_entry import order_entry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nicegui.events import UploadEventArguments

    from andon_cloud.console.feed import ConfigurationView, NodeView

log = logging.getLogger(__name__)

MAX_REASON = 200
MAX_DOCUMENT_BYTES = 8192
"""As the API takes them (docs/protocol.md)."""


class ConfigurationDialog:
    """Takes a document from a file, its signature where it needs one, and a reason."""

    def __init__(self, feed: ConsoleFeed, actor: str, ordered: Callable[[], Awaitable[None]]) -> None:
        self._feed, self._actor, self._ordered = feed, actor, ordered
        self._node = ""
        self._document: bytes | None = None
        self._dialog = ui.dialog().props('aria-labelledby="configuration-dialog-title"')
        with self._dialog, ui.card().classes("ask"):
            self._title = Text("h2", "", "ask-title").props("id=configuration-dialog-title")
            self._file = ui.upload(
                label="Configuration, a JSON file",
                max_file_size=MAX_DOCUMENT_BYTES,
                auto_upload=True,
                on_upload=self._uploaded,
                on_rejected=self._too_long,
            )
            self._file.props("accept=.json flat bordered").classes("ask-field")
            self._chosen = Text("p", "", "ask-effect")
            self._signature = ui.input("Signature (for outputs)").props("outlined").classes("ask-field")
            Text("p", "Where outputs or interlocks change: andon node config sign prints it.", "ask-hint")
            self._reason = (
                ui.input("Reason (kept in the audit log)")
                .props(f"outlined maxlength={MAX_REASON}")
                .classes("ask-field")
                .on("keydown.enter", self._confirm)
            )
            Text("p", "The node tries it and goes back to the one before if it cannot reach its gateway.", "ask-hint")
            self._error = Text("p", "", "ask-error", role="alert")
            with tag("div", "ask-buttons"):
                ui.button("Cancel", on_click=self._dialog.close).props("flat no-caps color=none").classes("button")
                self._go = ui.button("Send to the node", on_click=self._confirm)
                self._go.props("unelevated no-caps color=none data-effect=release").classes("button button-go")

    def ask(self, node: str) -> None:
        """Open the dialog for a node."""
        self._node, self._document = node, None
        self._title.set_text(f"New configuration for {node}")
        self._file.reset()
        self._chosen.set_text("")
        self._signature.set_value("")
        self._reason.set_value("")
        self._error.set_text("")
        self._go.enable()
        self._dialog.open()

    def _too_long(self) -> None:
        self._error.set_text(f"A configuration has at most {MAX_DOCUMENT_BYTES} bytes.")

    async def _uploaded(self, event: UploadEventArguments) -> None:
        self._document = await event.file.read()
        self._chosen.set_text(f"{event.file.name}: {len(self._document)} bytes")
        self._error.set_text("")

    async def _confirm(self) -> None:
        reason = (self._reason.value or "").strip()
        if not self._go.enabled:
            return
        if self._document is None:
            self._error.set_text("Please choose the file with the configuration.")
            return
        if not reason:
            self._error.set_text("Please say why: the reason is kept with the configuration.")
            return
        self._go.disable()
        self._error.set_text("")
        signature = (self._signature.value or "").strip().removeprefix("sig=") or None
        try:
            await self._feed.configure(self._node, self._document, signature, reason=reason, actor=self._actor)
        except FeedError as error:
            self._error.set_text(f"Not sent: {error}")
            return
        except Exception:  # whatever broke, the person must learn that nothing was confirmed
            log.exception("configuration from the console failed")
            self._error.set_text("It is not known whether it was ordered: the cloud failed. Look at the list.")
            return
        finally:
            self._go.enable()
        self._dialog.close()
        await self._ordered()


class ConfigurationPanel:
    """The newest configurations of a machine's node.

    Args:
        dialog: Asks for a new one.
        time: Writes a time of day, in the viewer's zone.
    """

    def __init__(self, dialog: ConfigurationDialog, time: Callable[[int], None]) -> None:
        self._dialog = dialog
        self._time = time
        self._shown: tuple[ConfigurationView, ...] | None = None
        self._nodes: tuple[str, ...] | None = None
        with tag("section", "panel panel-next", aria_label="Configurations"):
            Text("h2", "Node configurations", "panel-title")
            self._buttons = tag("div", "entry-head")
            self._entries = tag("div", "commands")

    def show(self, nodes: tuple[NodeView, ...], configurations: tuple[ConfigurationView, ...]) -> None:
        """Bring the panel up to date; built anew only when it says something else."""
        names = tuple(node.id for node in nodes)
        if names != self._nodes:
            self._nodes = names
            self._buttons.clear()
            with self._buttons:
                for name in names:
                    with tag("button", "span", type="button") as button:
                        Text("span", f"New configuration for {name}")
                    button.on("click", partial(self._dialog.ask, name))
        if configurations != self._shown:
            self._shown = configurations
            self.list_again()

    def list_again(self) -> None:
        """Write the list anew, in the zone of now."""
        self._entries.clear()
        with self._entries:
            if not self._shown:
                Text("p", "None was sent over the network yet.", "empty")
            for configuration in self._shown or ():
                self._entry(configuration)

    def _entry(self, item: ConfigurationView) -> None:
        signed = "signed" if item.signed else "not signed"
        what = f"Configuration {item.revision} of {item.node}, {signed}"
        order_entry(item, what, item.status, item.times, words.CONFIGURATION_SIGNS, self._time)
