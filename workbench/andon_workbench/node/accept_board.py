"""The board's part of an acceptance test: drives outputs, reads contacts, counts pulses, with the firmware's own drivers.

Whatever drives an output runs on the board in one piece and takes it back by itself, by the board's clock: a pulled cable or a
killed tool leaves no output on.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from andon_workbench.node.errors import BoardError, NodeError

if TYPE_CHECKING:
    from collections.abc import Generator

    from andon_workbench.node.link import BoardLink

READ_BACK_MS: Final = 300
SHOWN_MS: Final = 500
_FOLLOW_MS: Final = 100
# Far below the two minutes after which an abandoned board goes back to its work (link.py).
_FEED_S: Final = 20.0

# The tables are made by the firmware's validator and drivers, so that pin names, levels and debouncing are the node's.
_CODE: Final = """\
import asyncio, json, time
from machine import Pin
from andon_base.chip import pin as _andon_pin
def _andon_accept_load():
    from andon_node import config
    return config.load("config.json")
_andon_settings = _andon_accept_load()
_andon_relays = _andon_settings.relays
def _andon_all_safe():
    for item in _andon_relays:
        Pin(_andon_pin(item.gpio), Pin.OUT, value=item.safe_level())
_andon_all_safe()
_andon_contacts = [None if item.contact_gpio is None else Pin(_andon_pin(item.contact_gpio), Pin.IN) for item in _andon_relays]
def _andon_contact(number):
    if _andon_contacts[number] is None:
        return None
    return (_andon_contacts[number].value() == 1) == _andon_relays[number].contact_active_high
def _andon_follow(number, state, limit_ms):
    begin = time.ticks_ms()
    while True:
        if _andon_contact(number) == state:
            return time.ticks_diff(time.ticks_ms(), begin)
        if time.ticks_diff(time.ticks_ms(), begin) > limit_ms:
            return None
        time.sleep_ms(1)
def _andon_wait(ms):
    begin = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), begin) < ms:
        time.sleep_ms(5)
def _andon_drive(number, hold_ms, times, limit_ms):
    item = _andon_relays[number]
    coil = Pin(_andon_pin(item.gpio), Pin.OUT, value=item.safe_level())
    found = {"safe": item.safe, "before": _andon_contact(number), "followed_ms": None, "held": None, "released_ms": None}
    try:
        for _ in range(times):
            coil.value(1 - item.safe_level())
            found["followed_ms"] = _andon_follow(number, not item.safe, limit_ms) if found["before"] is not None else None
            _andon_wait(hold_ms)
            found["held"] = _andon_contact(number)
            coil.value(item.safe_level())
            if times > 1:
                _andon_wait(hold_ms)
    finally:
        coil.value(item.safe_level())
    if found["before"] is not None:
        found["released_ms"] = _andon_follow(number, item.safe, limit_ms)
    print(json.dumps(found))
def _andon_accept_drivers():
    from onewire import OneWire
    from andon_node.drivers import ds18b20, pulse
    drivers, kinds, buses, shared = [], [], {}, {}
    for item in _andon_settings.temperature:
        if item.gpio not in buses:
            buses[item.gpio] = ds18b20.Bus(OneWire(Pin(_andon_pin(item.gpio))))
        drivers.append(ds18b20.Thermometer(item.channel, buses[item.gpio], item.rom))
        kinds.append("temperature")
    for unit, item in enumerate(_andon_settings.cycles):
        if item.electronic:
            drivers.append(pulse.electronic_counter(item.channel, item.gpio, item.active_high, unit))
        else:
            drivers.append(pulse.ContactCounter(item.channel, item.gpio, item.active_high, item.debounce_ms))
        kinds.append("cycles")
    for item in _andon_settings.sensors:
        drivers.append(item.open(shared))
        kinds.append("input" if item.names[0].startswith("input/") else "reading")
    return drivers, kinds
_andon_drivers, _andon_kinds = _andon_accept_drivers()
async def _andon_live(driver, ms):
    task = asyncio.create_task(driver.run(lambda _driver: None)) if hasattr(driver, "run") else None
    await asyncio.sleep_ms(ms)
    if task is not None:
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
def _andon_look(number):
    driver = _andon_drivers[number]
    # All of a bus start together in the node; here the one that is asked for.
    wait_ms = max(driver.bus.first.prepare() if hasattr(driver, "bus") else driver.prepare(), 0)
    asyncio.run(_andon_live(driver, max(wait_ms, 300 if hasattr(driver, "run") else 0)))
    print(json.dumps({"fault": driver.fault, "readings": [list(reading) for reading in driver.read()]}))
    _andon_feed()
"""


@dataclass(frozen=True, slots=True)
class Output:
    """One relay output: its number in the list, channel, GPIO and whether its contact is read back."""

    number: int
    channel: int
    gpio: int
    read_back: bool

    @property
    def name(self) -> str:
        """Its SenML name."""
        return f"relay/{self.channel}"


@dataclass(frozen=True, slots=True)
class Driven:
    """What the contact did: state before, after how many ms it followed and was released (None: not), state while driven.

    `safe` is the state that counts as safe; without a read-back all but `safe` are None.
    """

    safe: bool
    before: bool | None
    followed_ms: int | None
    held: bool | None
    released_ms: int | None

    @property
    def follows(self) -> bool:
        """Whether the contact was safe, followed, stayed, and went back."""
        return (
            self.before == self.safe
            and self.followed_ms is not None
            and self.held == (not self.safe)
            and self.released_ms is not None
        )


@dataclass(frozen=True, slots=True)
class Sensor:
    """One driver of the node: its number, SenML name, kind (`temperature`, `cycles`, `input`, `reading`) and GPIO if it has one."""

    number: int
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Look:
    """What a driver found: its fault (`ok`) and its readings (name, unit, value)."""

    fault: str
    readings: tuple[tuple[str, str | None, float | bool], ...]

    @property
    def value(self) -> float:
        """The first reading as a number.

        Raises:
            NodeError: there is none.
        """
        if not self.readings:
            raise NodeError(f"no reading: {self.fault}")
        return float(self.readings[0][2])


class BoardUnderTest:
    """A board in its raw REPL with the firmware's drivers open. Outputs are in their safe state after construction.

    Raises:
        NodeError: the board has no firmware or no usable configuration.
    """

    def __init__(self, board: BoardLink) -> None:
        self._board = board
        self._turn = threading.Lock()
        try:
            board.run(_CODE)
        except BoardError as error:
            raise NodeError(
                f"the board's firmware or configuration is not usable ({error}); see: andon node doctor"
            ) from error
        rows = board.evaluate("[(item.channel, item.gpio, item.contact_gpio is not None) for item in _andon_relays]")
        self.outputs = [Output(number, *row) for number, row in enumerate(rows)]
        kinds = board.evaluate("[(driver.name, kind) for driver, kind in zip(_andon_drivers, _andon_kinds)]")
        self.sensors = [Sensor(number, *row) for number, row in enumerate(kinds)]

    def drive(self, output: Output) -> Driven:
        """Drive an output out of its safe state for a moment; without a read-back three times, so that a person can see it."""
        times, hold_ms = (1, READ_BACK_MS) if output.read_back else (3, SHOWN_MS)
        found = self._ask(f"_andon_feed()\n_andon_drive({output.number}, {hold_ms}, {times}, {_FOLLOW_MS})")
        return Driven(**found)

    def look(self, sensor: Sensor) -> Look:
        """Ask a driver for its readings now."""
        found = self._ask(f"_andon_look({sensor.number})")
        return Look(found["fault"], tuple((name, unit, value) for name, unit, value in found["readings"]))

    def interrupt(self) -> None:
        """Stop what the board does now; an output that is driven goes back to its safe state."""
        self._board.interrupt()

    @contextmanager
    def kept_waiting(self, every_s: float = _FEED_S) -> Generator[None]:
        """While a person takes time, keep the watchdog from taking the board back to its work.

        Raises:
            NodeError: the board was lost meanwhile.
        """
        over = threading.Event()
        lost: list[NodeError] = []

        def feed() -> None:
            while not over.wait(every_s):
                try:
                    with self._turn:
                        self._board.feed()
                except NodeError as error:
                    lost.append(error)
                    return

        feeding = threading.Thread(target=feed, name="watchdog of the board")
        feeding.start()
        try:
            yield
        finally:
            over.set()
            feeding.join()
        if lost:
            raise lost[0]

    def _ask(self, call: str) -> dict[str, Any]:
        with self._turn:
            answer = self._board.run(call)
        found: dict[str, Any] = json.loads(answer[answer.index("{") :])
        return found
