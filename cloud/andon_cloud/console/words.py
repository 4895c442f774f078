"""How the console says things: icons and words for states, numbers and commands. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from andon_cloud.commands.lifecycle import CommandStatus
from andon_cloud.configurations.lifecycle import ConfigurationStatus
from andon_cloud.console.state import MachineState, age_text

if TYPE_CHECKING:
    from andon_cloud.console.feed import (
        CommandView,
        MachineView,
        NodeView,
        RelayView,
        UnknownKeysView,
        WaitingNode,
    )


class Sign(NamedTuple):
    """A word and an icon: a state is never told by colour alone."""

    word: str
    icon: str


STATE_SIGNS = {
    MachineState.RUNNING: Sign("Running", "play_arrow"),
    MachineState.IDLE: Sign("Idle", "hourglass_empty"),
    MachineState.STOPPED: Sign("Stopped", "pan_tool"),
    MachineState.FAULT: Sign("Fault", "warning"),
    MachineState.OFFLINE: Sign("Offline", "wifi_off"),
}

COMMAND_SIGNS = {
    CommandStatus.QUEUED: Sign("Queued", "schedule"),
    CommandStatus.SENT: Sign("Sent", "north_east"),
    CommandStatus.ACKNOWLEDGED: Sign("Acknowledged", "done"),
    CommandStatus.CONFIRMED: Sign("Confirmed", "done_all"),
    CommandStatus.EXPIRED: Sign("Expired", "timer_off"),
    CommandStatus.FAILED: Sign("Failed", "error_outline"),
}

CONFIGURATION_SIGNS = {
    ConfigurationStatus.REQUESTED: Sign("Ordered", "schedule"),
    ConfigurationStatus.SENT: Sign("At the gateway", "north_east"),
    ConfigurationStatus.TRIAL: Sign("On trial", "hourglass_empty"),
    ConfigurationStatus.CONFIRMED: Sign("Confirmed", "done_all"),
    ConfigurationStatus.REFUSED: Sign("Refused", "block"),
    ConfigurationStatus.ROLLED_BACK: Sign("Rolled back", "undo"),
    ConfigurationStatus.FAILED: Sign("Failed", "error_outline"),
}

NOTHING = "\u2013"


def number(value: float | None, decimals: int = 0) -> str:
    """A number with thin spaces between thousands, or a dash when there is none."""
    if value is None:
        return NOTHING
    return f"{value:,.{decimals}f}".replace(",", "\u202f")


_THREE_DIGITS = 100


def rate(per_period: float | None) -> str:
    """A rate with as many decimals as are worth reading."""
    if per_period is None:
        return NOTHING
    return number(per_period, 0 if per_period >= _THREE_DIGITS else 1)


def place(machine: MachineView) -> str:
    """The machine's place in the ISA-95 hierarchy, widest first."""
    return f"{machine.site} \u203a {machine.area} \u203a {machine.line}"


def contact(closed: bool | None) -> str:  # noqa: FBT001 - the contact's state is the whole argument
    """What the relay's contact does to the machine."""
    if closed is None:
        return "Contact not reported yet"
    return "Closed: machine may run" if closed else "Open: machine stopped"


def relay_line(relay: RelayView) -> str:
    """Actual state of the relay, and the commanded one while they differ."""
    command = relay.command
    if command is not None and relay.pending and command.state != relay.closed:
        return f"{contact(relay.closed)} · commanded: {'close' if command.state else 'open'}"
    return contact(relay.closed)


def command_line(command: CommandView | None, now_ms: int) -> str:
    """The last command in one line: state, what, by whom, how long ago."""
    if command is None:
        return "No command yet"
    reached_ms = command.times.get(command.status, command.created_ms)
    what = "close" if command.state else "open"
    line = f"{COMMAND_SIGNS[command.status].word}: {what} · {command.actor} · {age_text(reached_ms, now_ms)}"
    return f"{line} · {command.detail}" if command.detail and command.final else line


def lease(seconds: int) -> str:
    """A lease for people: `8 h`, `30 min`, `45 s`."""
    for unit_s, unit in ((3600, "h"), (60, "min")):
        if seconds >= unit_s and seconds % unit_s == 0:
            return f"{seconds // unit_s} {unit}"
    return f"{seconds} s"


def node_line(node: NodeView, now_ms: int) -> str:
    """What runs on a node, and when it was heard."""
    firmware = f"firmware {node.firmware}" if node.firmware else "firmware not told"
    revision = "configuration not told" if node.revision is None else f"configuration {node.revision}"
    heard = "never heard" if node.seen_ms is None else f"heard {age_text(node.seen_ms, now_ms)}"
    return f"Node {node.id} · {firmware} · {revision} · {heard}"


def sent(node: WaitingNode) -> str:
    """What a waiting node has sent last, so that a person may recognise it."""
    if not node.sent:
        return "no reading yet"
    return ", ".join(f"{name} {_value(value)}" for name, value in node.sent)


def _value(value: float | bool | str) -> str:  # noqa: FBT001 - one of a reading's three kinds of value
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return value
    return number(value, 0 if float(value).is_integer() else 2)


def waiting_line(node: WaitingNode, now_ms: int) -> str:
    """Since when, and how much."""
    packs = "1 pack waits" if node.packs == 1 else f"{number(node.packs)} packs wait"
    return f"heard {age_text(node.last_ms, now_ms)} · {packs}"


def keys_title(keys: UnknownKeysView) -> str:
    """Whose keys they may be."""
    who = keys.owner or keys.node
    return f"Unknown keys {keys.kid or '(empty)'}" + (f", perhaps {who}" if who else "")


def keys_line(keys: UnknownKeysView, now_ms: int) -> str:
    """When they were heard, and how often."""
    return f"heard {age_text(keys.last_ms, now_ms)} · {number(keys.messages)} messages refused"


def keys_advice(keys: UnknownKeysView) -> str:
    """What a person can do."""
    if keys.owner is not None and keys.owner_gateway == keys.gateway:
        return f"These are the keys of {keys.owner}; its gateway is about to get them."
    if keys.owner is not None:
        return f"These are the keys of {keys.owner}, which is registered at {keys.owner_gateway}: move it to {keys.gateway}."
    if keys.node is not None:
        return f"{keys.node} was last known at this address. If its keys were replaced, provision the board: andon node provision"
    return "Nobody has these keys any more. Provision the board: andon node provision"
