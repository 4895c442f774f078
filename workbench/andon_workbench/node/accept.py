"""`andon node accept`: the acceptance test of a built node, from its flash to its contacts."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from andon_workbench.bundle.build import ROOT_FILES
from andon_workbench.node import config as node_config
from andon_workbench.node.accept_board import BoardUnderTest, Output, Sensor
from andon_workbench.node.accept_record import Identity, Outcome, Record, Step
from andon_workbench.node.bundle import build_bundle
from andon_workbench.node.deploy import hashes_in
from andon_workbench.node.doctor import Examination, Finding, Verdict, examine_parts, examine_start
from andon_workbench.node.errors import NodeError
from andon_workbench.node.label import fingerprint
from andon_workbench.node.link import BoardLink
from andon_workbench.node.provision import KEY_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from andon_workbench.node.accept_person import Person

_PULSES: Final = 5
_WARMER_C: Final = 1.0
_OUTCOMES: Final = {
    Verdict.GOOD: Outcome.PASSED,
    Verdict.WARNING: Outcome.REMARK,
    Verdict.BAD: Outcome.FAILED,
    Verdict.SKIPPED: Outcome.SKIPPED,
}
# A node with other firmware than the record's was not tested: what is a warning at the doctor's is a failure here.
_MUST_BE_GOOD: Final = ("firmware", "keys")
_QUESTION: Final = (
    "are the loads of all outputs disconnected or safe to switch, and is nobody within reach of the machine?"
)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Who tests, when (UTC, ISO 8601) and who answers: a person, or a file."""

    inspector: str
    date: str
    answered_by: str


class AcceptanceTest:
    """Runs the steps one after the other; `say` is told each line as soon as it is known."""

    def __init__(self, person: Person, say: Callable[[Step], None]) -> None:
        self.steps: list[Step] = []
        self._person = person
        self._say = say

    def note(self, name: str, outcome: Outcome, found: str) -> None:
        """Add a line."""
        step = Step(name, outcome, found)
        self.steps.append(step)
        self._say(step)

    def note_findings(self, findings: list[Finding]) -> None:
        """Add what the doctor found."""
        for finding in findings:
            outcome = _OUTCOMES[finding.verdict]
            if finding.check in _MUST_BE_GOOD and outcome is Outcome.REMARK:
                outcome = Outcome.FAILED
            self.note(finding.check, outcome, "; ".join(filter(None, (finding.found, finding.advice))))

    def try_outputs(self, board: BoardUnderTest) -> None:
        """Drive every output once, alone; nothing is driven until somebody has said that it is safe."""
        if not board.outputs:
            return
        if not self._person.confirm("isolated", _QUESTION):
            for output in board.outputs:
                self.note(output.name, Outcome.FAILED, "not driven: nobody said that it is safe")
            return
        for output in board.outputs:
            self._try_output(board, output)

    def try_sensors(self, board: BoardUnderTest) -> None:
        """Have every input changed by hand and compare."""
        tests: dict[str, Callable[[BoardUnderTest, Sensor], None]] = {
            "temperature": self._try_temperature,
            "cycles": self._try_cycles,
            "input": self._try_input,
            "reading": self._try_reading,
        }
        for sensor in board.sensors:
            tests[sensor.kind](board, sensor)

    def _try_output(self, board: BoardUnderTest, output: Output) -> None:
        pin = f"GPIO{output.gpio}"
        driven = board.drive(output)
        if output.read_back:
            if driven.follows:
                found = f"{pin}: contact follows in {driven.followed_ms} ms, back in {driven.released_ms} ms"
                self.note(output.name, Outcome.PASSED, found)
            else:
                self.note(output.name, Outcome.FAILED, f"{pin}: {_why_not(driven.safe, driven.before, driven.held)}")
            return
        seen = self._person.confirm(output.name, f"{pin} switched three times; did the right relay do it?")
        self.note(output.name, Outcome.PASSED if seen else Outcome.FAILED, f"{pin}: {'seen' if seen else 'not seen'}")

    def _try_temperature(self, board: BoardUnderTest, sensor: Sensor) -> None:
        before = board.look(sensor)
        if before.fault != "ok":
            self.note(sensor.name, Outcome.FAILED, before.fault)
            return
        self._person.act(
            sensor.name,
            f"warm the sensor by at least {_WARMER_C:g} degC (it reads {before.value:.1f})",
            lambda: _changed(board, sensor, before.value),
        )
        after = board.look(sensor)
        if after.fault != "ok":
            self.note(sensor.name, Outcome.FAILED, after.fault)
            return
        found = f"{before.value:.1f} degC, then {after.value:.1f} degC"
        if abs(after.value - before.value) >= _WARMER_C:
            self.note(sensor.name, Outcome.PASSED, found)
            return
        # A probe that is built in cannot be warmed by hand.
        same = self._person.confirm(
            sensor.name, f"not a degree of change; does a reference thermometer show {after.value:.1f} degC, within 2?"
        )
        self.note(
            sensor.name,
            Outcome.PASSED if same else Outcome.FAILED,
            f"{found}, {'as a reference thermometer' if same else 'no change seen'}",
        )

    def _try_cycles(self, board: BoardUnderTest, sensor: Sensor) -> None:
        start = int(board.look(sensor).value)

        def counted() -> int:
            return int(board.look(sensor).value) - start

        given = self._person.pulses(sensor.name, f"give {_PULSES} pulses", counted)
        # What comes after the last pulse, such as a bouncing contact, must not count either.
        board.look(sensor)
        count = counted()
        self.note(
            sensor.name, Outcome.PASSED if given.fit(count) else Outcome.FAILED, f"{count} counted, {given} given"
        )

    def _try_input(self, board: BoardUnderTest, sensor: Sensor) -> None:
        seen = []
        for wanted, request in ((True, "make the input active"), (False, "make it inactive again")):
            self._person.act(sensor.name, request, lambda wanted=wanted: bool(board.look(sensor).value) == wanted)  # type: ignore[misc]  # mypy knows no defaults of lambdas
            seen.append(bool(board.look(sensor).value) == wanted)
        found = "active and inactive seen" if all(seen) else f"{'inactive' if seen[0] else 'active'} not seen"
        self.note(sensor.name, Outcome.PASSED if all(seen) else Outcome.FAILED, found)

    def _try_reading(self, board: BoardUnderTest, sensor: Sensor) -> None:
        found = board.look(sensor)
        if found.fault != "ok" or not found.readings:
            self.note(sensor.name, Outcome.FAILED, found.fault if found.fault != "ok" else "no reading")
            return
        words = ", ".join(f"{name} {value:g} {unit or ''}".strip() for name, unit, value in found.readings)
        plausible = self._person.confirm(sensor.name, f"it reads {words}; is that right?")
        self.note(sensor.name, Outcome.PASSED if plausible else Outcome.FAILED, words)


def run(port: str, firmware: Path, person: Person, who: Circumstances, say: Callable[[Step], None]) -> Record:
    """Test the board on a port. It is stopped for the test and restarted in the end, its outputs safe at any end.

    Raises:
        NodeError: the board cannot be tested at all; there is no record then.
    """
    test = AcceptanceTest(person, say)
    with BoardLink(port) as link:
        parts = Examination()
        network = examine_parts(link, parts, firmware)
        test.note_findings(parts.findings)
        identity = _identity(link, firmware)
        _note_slot(link, test)
        board = BoardUnderTest(link)
        with _stopped_on_interrupt(board), board.kept_waiting():
            test.try_outputs(board)
            test.try_sensors(board)
        start = Examination()
        examine_start(link, start, network)
        test.note_findings(start.findings)
    return Record(identity, who.date, who.inspector, who.answered_by, tuple(test.steps))


@contextmanager
def _stopped_on_interrupt(board: BoardUnderTest) -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt:
        board.interrupt()
        raise


def _identity(link: BoardLink, firmware: Path) -> Identity:
    version, machine = link.evaluate(
        "(lambda s: ('.'.join(str(part) for part in s.implementation.version[:3]), "
        "getattr(s.implementation, '_machine', s.platform)))(__import__('sys'))"
    )
    unique_id = str(link.evaluate("__import__('binascii').hexlify(__import__('machine').unique_id()).decode()"))
    packages = build_bundle(firmware, compiled=False).packages
    files = hashes_in(link, packages, ROOT_FILES)
    listing = "".join(f"{digest.hex()} {path}\n" for path, digest in sorted(files.items()))
    document = node_config.read_config(link)
    # Without the password: a hash over it would let the record's reader try passwords.
    document.pop("wifi", None)
    try:
        keys = fingerprint(link.sha256(KEY_FILE))
    except FileNotFoundError:
        keys = "none"
    return Identity(
        node=str(document.get("node", "")),
        board=f"{document.get('board', 'esp32-devkit')}, {machine}",
        unique_id=unique_id,
        micropython=str(version),
        firmware_files=len(files),
        firmware_sha256=hashlib.sha256(listing.encode()).hexdigest(),
        config_sha256=hashlib.sha256(
            json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        ).hexdigest(),
        keys_fingerprint=keys,
    )


def _note_slot(link: BoardLink, test: AcceptanceTest) -> None:
    """An update that came over the network runs from a slot; what was hashed and tested is the base."""
    link.run("from andon_base import slots as _andon_slots")
    active = str(link.evaluate("str(_andon_slots.load().active)"))
    if active == str(link.evaluate("str(_andon_slots.ROOT)")):
        test.note("slot", Outcome.PASSED, "runs what was deployed by serial")
    else:
        test.note("slot", Outcome.FAILED, f"runs {active}, an update over the network; first: andon node deploy")


def _changed(board: BoardUnderTest, sensor: Sensor, before: float) -> bool:
    look = board.look(sensor)
    return bool(look.readings) and abs(look.value - before) >= _WARMER_C


def _why_not(safe: bool, before: bool | None, held: bool | None) -> str:  # noqa: FBT001  three states of one contact
    if before != safe:
        return (
            "the contact is not in its safe state at rest: wiring of the contact, safe or contact_active in config.json"
        )
    if held == safe:
        return "the contact does not follow: coil, driver, supply of the relay, or wiring of the contact"
    return "the contact does not go back in time: welded contact, or wiring"


def require_inspector(name: str) -> str:
    """The inspector's name as it stands in the record.

    Raises:
        NodeError: there is none, or it is no name.
    """
    name = name.strip()
    if not name or len(name) > 80 or not name.isprintable():  # noqa: PLR2004  what fits a line of the sheet
        raise NodeError("--inspector: expected a name of up to 80 printable characters")
    return name
