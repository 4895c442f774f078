"""`andon node doctor`: looks at everything between the port and the gateway; each finding with what to do about it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from andon_workbench.bundle.build import ROOT_FILES
from andon_workbench.node import coap
from andon_workbench.node.bundle import build_bundle
from andon_workbench.node.config import CONFIG, check_on_board
from andon_workbench.node.deploy import hashes_in, wait_for_node
from andon_workbench.node.errors import BoardError, NodeError, PortError
from andon_workbench.node.label import fingerprint
from andon_workbench.node.link import BoardLink
from andon_workbench.node.provision import KEY_FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LEAST_VERSION: Final = (1, 22)
_LEAST_HEAP: Final = 60_000
_LEAST_FLASH: Final = 131_072
_WEAK_DBM: Final = -80
_MAX_CLOCK_DIFFERENCE_S: Final = 2.0
_HEALTH_LIMIT_S: Final = 10.0
_DEFAULT_COAP_PORT: Final = 5683

# Wi-Fi with the board's own configuration, a CoAP ping (RFC 7252 4.3) and GET /time at the gateway. Dots keep the line alive;
# secrets stay on the board.
_NETWORK: Final = """\
import json, network, socket, time
def _andon_ask(address, message):
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        line.settimeout(2)
        for _ in range(3):
            _andon_feed()
            line.sendto(message, address)
            try:
                return line.recv(128)
            except OSError:
                print(".", end="")
        return b""
    finally:
        line.close()
def _andon_network():
    with open("config.json") as file:
        settings = json.load(file)
    found = {}
    kind = settings.get("link", {}).get("kind", "wifi")
    if kind != "serial":
        if kind == "lan":
            from andon_node import config
            from andon_node.net.lan import LanLink
            lan = LanLink(config.load("config.json"))
            lan.datagrams.close()
            lan.bring_up()
            station = lan.nic
        else:
            station = network.WLAN(network.WLAN.IF_STA)
            station.active(True)
            if not station.isconnected():
                station.connect(settings["wifi"]["ssid"], settings["wifi"].get("password", ""))
        for _ in range(30):
            if station.isconnected():
                break
            _andon_feed()
            print(".", end="")
            time.sleep_ms(500)
        found[kind] = station.isconnected()
        if not station.isconnected():
            return found
        if kind == "wifi":
            found["rssi"] = station.status("rssi")
        found["address"] = station.ifconfig()[0]
        host, port = settings["gateway"]["host"], settings["gateway"].get("port", 5683)
        try:
            address = socket.getaddrinfo(host, port)[0][-1]
        except OSError:
            found["resolved"] = False
            return found
        found["resolved"] = True
        found["ping"] = _andon_ask(address, b"\\x40\\x00\\x61\\x01")[:1] == b"\\x70"
        answer = _andon_ask(address, b"\\x40\\x01\\x61\\x02\\xb4time")
        if len(answer) > 4 and answer[1] == 0x45 and b"\\xff" in answer:
            found["time"] = int(answer[answer.index(b"\\xff") + 1:])
    return found
"""


class Verdict(StrEnum):
    """How a check ended."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table."""

    check: str
    verdict: Verdict
    found: str
    advice: str = ""


class Examination:
    """Collects findings; a check that fails with an error is a finding too."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    @property
    def good(self) -> bool:
        """Whether nothing is bad."""
        return all(finding.verdict is not Verdict.BAD for finding in self.findings)

    def note(self, check: str, verdict: Verdict, found: str, advice: str = "") -> None:
        """Add a finding."""
        self.findings.append(Finding(check, verdict, found, advice))

    def expect(self, check: str, found: str, *, good: bool, advice: str, otherwise: Verdict = Verdict.BAD) -> None:
        """Add a finding whose advice counts only when it is not good."""
        self.note(check, Verdict.GOOD if good else otherwise, found, "" if good else advice)

    def attempt(self, check: str, work: Callable[[], None]) -> None:
        """Run a check; its error is its finding."""
        try:
            work()
        except NodeError as error:
            self.note(check, Verdict.BAD, "failed", str(error))

    def document(self) -> dict[str, Any]:
        """The JSON of `--json`."""
        return {"good": self.good, "findings": [asdict(finding) for finding in self.findings]}

    def table(self) -> Table:
        """The table for people."""
        table = Table(title=None, show_edge=False, pad_edge=False)
        for column in ("check", "", "found", "what to do"):
            table.add_column(column, overflow="fold")
        colours = {Verdict.GOOD: "green", Verdict.WARNING: "yellow", Verdict.BAD: "red", Verdict.SKIPPED: "dim"}
        for finding in self.findings:
            colour = colours[finding.verdict]
            table.add_row(finding.check, f"[{colour}]{finding.verdict}[/]", finding.found, finding.advice)
        return table


def examine(port: str, firmware: Path) -> Examination:
    """Examine the board on a port. It is stopped for some seconds and restarted in the end."""
    result = Examination()
    try:
        with BoardLink(port) as board:
            result.note("port", Verdict.GOOD, port)
            result.note("REPL", Verdict.GOOD, "answers")
            network = examine_parts(board, result, firmware)
            examine_start(board, result, network)
    except PortError as error:
        result.note("port", Verdict.BAD, port, str(error))
    except NodeError as error:
        result.note("REPL", Verdict.BAD, "no answer", str(error))
    return result


def examine_parts(board: BoardLink, result: Examination, firmware: Path) -> dict[str, Any]:
    """Examine what can be seen at the prompt; return what the board found of its network, as `examine_start` wants it."""
    for check, work in (
        ("MicroPython", _micropython),
        ("memory", _memory),
        ("flash", _flash),
        ("firmware", lambda board, result: _firmware(board, result, firmware)),
        ("configuration", lambda board, result: _configuration(board, result, firmware)),
        ("keys", _keys),
    ):
        result.attempt(check, lambda work=work: work(board, result))  # type: ignore[misc]  # mypy knows no defaults of lambdas
    network: dict[str, Any] = {}
    result.attempt("network", lambda: network.update(_network(board, result)))
    return network


def examine_start(board: BoardLink, result: Examination, network: dict[str, Any]) -> None:
    """Restart the board and examine how the node starts and whether it answers."""
    result.attempt("node", lambda: _node(board, result, network))


def _micropython(board: BoardLink, result: Examination) -> None:
    version, machine = board.evaluate(
        "(lambda s: (tuple(s.implementation.version[:3]), getattr(s.implementation, '_machine', s.platform)))(__import__('sys'))"
    )
    result.expect(
        "MicroPython",
        f"{'.'.join(map(str, version))} on {machine}",
        good=tuple(version[:2]) >= _LEAST_VERSION,
        advice="write a newer one with: andon node flash --image FILE",
    )


def _memory(board: BoardLink, result: Examination) -> None:
    free = int(board.evaluate("(__import__('gc').collect(), __import__('gc').mem_free())[1]"))
    result.expect(
        "memory",
        f"{free:,} bytes free at the prompt",
        good=free >= _LEAST_HEAP,
        advice=f"less than {_LEAST_HEAP:,}: is another program in boot.py?",
        otherwise=Verdict.WARNING,
    )


def _flash(board: BoardLink, result: Examination) -> None:
    size, blocks, free = board.evaluate("(lambda s: (s[0], s[2], s[3]))(__import__('os').statvfs(_andon_root))")
    result.expect(
        "flash",
        f"{size * free:,} of {size * blocks:,} bytes free",
        good=size * free >= _LEAST_FLASH,
        advice="journal and updates need room: see mpremote fs tree, or start afresh with: andon node flash",
        otherwise=Verdict.WARNING,
    )


def _firmware(board: BoardLink, result: Examination, firmware: Path) -> None:
    sources = build_bundle(firmware, compiled=False)
    on_board = hashes_in(board, sources.packages, ROOT_FILES)
    compiled = any(path.endswith(".mpy") for path in on_board)
    bundle = build_bundle(firmware, compiled=True) if compiled else sources
    other = sum(on_board.get(path) != bundle.digest(path) for path in bundle.files)
    more = len(set(on_board) - set(bundle.files))
    kind = ".mpy" if compiled else "sources"
    if not on_board.keys() - {"boot.py"}:
        result.note("firmware", Verdict.BAD, "none", "put it on with: andon node deploy")
        return
    result.expect(
        "firmware",
        f"{len(bundle.files) - other} of {len(bundle.files)} files as in this checkout ({kind})"
        + (f", {more} more" if more else ""),
        good=not other and not more,
        advice="bring it to this checkout's state with: andon node deploy",
        otherwise=Verdict.WARNING,
    )


def _configuration(board: BoardLink, result: Examination, firmware: Path) -> None:
    try:
        data = board.read(CONFIG)
    except FileNotFoundError:
        result.note("configuration", Verdict.BAD, "none", "make one with: andon node provision")
        return
    where = check_on_board(board, CONFIG, data, firmware)
    result.note("configuration", Verdict.GOOD, f"valid for node {json.loads(data)['node']} (checked by {where})")


def _keys(board: BoardLink, result: Examination) -> None:
    try:
        # Hashed on the board: the keys themselves must not travel back over the console.
        digest = board.sha256(KEY_FILE)
    except FileNotFoundError:
        result.note("keys", Verdict.WARNING, "none", "without keys a gateway may refuse it: andon node provision")
        return
    result.note("keys", Verdict.GOOD, f"fingerprint {fingerprint(digest)}")


def _network(board: BoardLink, result: Examination) -> dict[str, Any]:
    if not board.exists(CONFIG):
        result.note("network", Verdict.SKIPPED, "no configuration")
        return {}
    board.run(_NETWORK)
    answer = board.run("print(json.dumps(_andon_network()))")
    now = time.time()
    found: dict[str, Any] = json.loads(answer[answer.index("{") :])
    if "lan" in found:
        words = f"address {found['address']}" if found["lan"] else "no connection in 15 s"
        advice = "is the cable in, does the network give addresses (DHCP), or lan.address: andon node config get lan"
        result.expect("Ethernet", words, good=found["lan"], advice=advice)
        if found["lan"]:
            _gateway(result, found, now)
        return found if found["lan"] else {}
    if "wifi" not in found:
        result.note("network", Verdict.SKIPPED, "the node is on a serial line")
        return {}
    if not found["wifi"]:
        advice = "is the access point on and in reach (2.4 GHz)? name and password: andon node config get wifi.ssid"
        result.note("Wi-Fi", Verdict.BAD, "no connection in 15 s", advice)
        return {}
    result.expect(
        "Wi-Fi",
        f"{found['rssi']} dBm, address {found['address']}",
        good=found["rssi"] > _WEAK_DBM,
        advice="weak: another place, or a board with an antenna connector",
        otherwise=Verdict.WARNING,
    )
    _gateway(result, found, now)
    return found


def _gateway(result: Examination, found: dict[str, Any], now: float) -> None:
    if not found["resolved"]:
        result.note(
            "gateway", Verdict.BAD, "its name is unknown", "set its address: andon node config set gateway.host IP"
        )
        return
    result.expect(
        "gateway",
        "answers a CoAP ping" if found["ping"] else "silent",
        good=found["ping"],
        advice="does it run, is 5683/udp open to this network, is gateway.host right?",
    )
    if "time" not in found:
        result.note("clock", Verdict.SKIPPED, "the gateway tells its time only to known nodes" if found["ping"] else "")
        return
    difference = found["time"] / 1000 - now
    # Adding zero takes the sign off a zero.
    result.expect(
        "clock",
        f"the gateway's is {round(difference, 1) + 0.0:+.1f} s from this machine's",
        good=abs(difference) <= _MAX_CLOCK_DIFFERENCE_S,
        advice="synchronise both with NTP: readings are stamped with the gateway's time",
        otherwise=Verdict.WARNING,
    )


def _node(board: BoardLink, result: Examination, network: dict[str, Any]) -> None:
    if not (board.exists("main.py") and board.exists(CONFIG)):
        result.note("node", Verdict.SKIPPED, "nothing to start")
        return
    port = int(json.loads(board.read(CONFIG)).get("coap_port", _DEFAULT_COAP_PORT))
    try:
        line = wait_for_node(board)
    except BoardError as error:
        result.note("node", Verdict.BAD, "did not start", str(error))
        return
    result.expect("node", line, good=line.startswith("node: "), advice="correct it with: andon node config edit")
    if "address" not in network or not port:
        result.note("health", Verdict.SKIPPED, "the node has no address that is known here")
        return
    code, payload = coap.get(network["address"], port, "health", _HEALTH_LIMIT_S)
    if code == coap.CONTENT:
        health = json.loads(payload)
        words = ", ".join(
            f"{key} {health[key]}" for key in ("uptime_s", "heap_free", "queued", "rejected") if key in health
        )
        result.expect("health", words, good=not health.get("last_error"), advice=str(health.get("last_error")))
    elif code == coap.UNAUTHORIZED:
        result.note("health", Verdict.GOOD, "answers, to its gateway only")
    else:
        advice = f"is this machine in the node's network? {network['address']}:{port}/udp"
        result.note("health", Verdict.WARNING, "no answer" if code is None else f"{code >> 5}.{code & 31:02}", advice)
