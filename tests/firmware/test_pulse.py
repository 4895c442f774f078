"""Pulse counting: debounce against a reference, counters through the sim's pins, wrap of the bare unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from firmware.micropython_vm import LineVm, run_vm
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware.register_file import RegisterFile

# Line: active level, debounce_us, start_us, then time:level pairs, all in microseconds of the ticks.
DEBOUNCER = """
import time
from andon_node.drivers.pulse import Debouncer

def answer(line):
    words = line.split()
    active, debounce, start = [int(word) for word in words[:3]]
    debouncer = Debouncer(active, debounce, start)
    for word in words[3:]:
        at, level = word.split(":")
        debouncer.edge(int(at), int(level))
    return str(debouncer.pulses)
"""


@pytest.fixture(scope="module")
def debouncer() -> Iterator[LineVm]:
    vm = LineVm(DEBOUNCER, sim=True)
    yield vm
    vm.close()


def reference(active: int, debounce_us: int, gaps_and_levels: list[tuple[int, int]]) -> int:
    """By definition: an edge to the active level with nothing at all on the line for the debounce time before it."""
    pulses = 0
    for index, (gap, level) in enumerate(gaps_and_levels):
        quiet = index == 0 or gap >= debounce_us
        pulses += level == active and quiet
    return pulses


gaps = st.one_of(st.integers(0, 3000), st.integers(15_000, 25_000), st.integers(50_000, 10_000_000))


@settings(max_examples=300, deadline=None)
@given(
    active=st.integers(0, 1),
    debounce_us=st.sampled_from([0, 1000, 20_000]),
    start_us=st.integers(0, 2**40),
    edges=st.lists(st.tuples(gaps, st.integers(0, 1)), max_size=60),
)
def test_debounce_agrees_with_its_definition(
    debouncer: LineVm, active: int, debounce_us: int, start_us: int, edges: list[tuple[int, int]]
) -> None:
    at = start_us
    words = []
    for gap, level in edges:
        at += gap
        words.append(f"{at}:{level}")
    answer = debouncer.ask(" ".join([str(active), str(debounce_us), str(start_us), *words]))
    assert int(answer) == reference(active, debounce_us, edges)


@settings(max_examples=100, deadline=None)
@given(
    bounces=st.lists(st.lists(st.integers(100, 2500), min_size=0, max_size=6), min_size=1, max_size=12),
    pauses=st.data(),
)
def test_each_bouncing_closure_counts_once(debouncer: LineVm, bounces: list[list[int]], pauses: st.DataObject) -> None:
    """Closures with contact bounce at both ends, both positions held longer than the bounce and the debounce time."""
    at = 1000
    words = []
    for bounce in bounces:
        for level in (1, 0):
            at += pauses.draw(st.integers(25_000, 200_000))
            words.append(f"{at}:{level}")
            for gap in bounce:
                at += gap
                words.append(f"{at}:{1 - level}")
                at += gap
                words.append(f"{at}:{level}")
    assert int(debouncer.ask(" ".join(["1", "20000", "0", *words]))) == len(bounces)


# Lines: `total` reads the counter after whatever the world did; the first argument picks the kind of counter.
COUNTER = """
import sys
import registers
registers.attach(sys.argv[1])
import machine
from andon_node.drivers import pulse
kind = sys.argv[2]
if kind == "unit":
    counter = pulse.UnitCounter(0, 32, True, 0)
elif kind == "falling":
    counter = pulse.UnitCounter(0, 32, False, 0)
elif kind == "hardware":
    counter = pulse.HardwareCounter(0, 32, True, 0)
elif kind == "hardware-falling":
    counter = pulse.HardwareCounter(0, 32, False, 0)
elif kind == "best-without-pcnt":
    del machine.Counter
    import esp32
    del esp32.PCNT
    counter = pulse.electronic_counter(0, 32, True, 0)
    assert isinstance(counter, pulse.ContactCounter)
elif kind == "best-without-counter":
    del machine.Counter
    counter = pulse.electronic_counter(0, 32, True, 0)
    assert isinstance(counter, pulse.UnitCounter)
else:
    counter = pulse.ContactCounter(0, 32, True, 0)

def answer(line):
    return str(counter.total())
"""


@pytest.mark.parametrize(
    "kind",
    ["unit", "falling", "hardware", "hardware-falling", "best-without-pcnt", "best-without-counter", "contact"],
)
def test_counters_count_edges_of_the_pin_from_their_start(registers: RegisterFile, kind: str) -> None:
    registers.edge(32, 1)
    registers.edge(32, 0)
    vm = LineVm(COUNTER, str(registers.path), kind, sim=True)
    try:
        assert vm.ask("total") == "0"
        for number in range(1, 301):
            registers.edge(32, 1)
            registers.edge(32, 0)
            if number % 100 == 0:
                assert vm.ask("total") == str(number)
    finally:
        vm.close()


def test_unit_carries_on_over_the_wrap_of_16_bits(registers: RegisterFile) -> None:
    vm = LineVm(COUNTER, str(registers.path), "unit", sim=True)
    try:
        assert vm.ask("total") == "0"
        for number in range(1, 32_101):
            registers.edge(32, 1)
            registers.edge(32, 0)
            if number % 100 == 0:
                assert vm.ask("total") == str(number)
    finally:
        vm.close()


def test_long_quiet_line_still_counts_where_ticks_wrap() -> None:
    """The ESP32's ticks_us wraps within 18 minutes; the VM here is given that period."""
    source = """
import time
PERIOD = 1 << 30
time.ticks_diff = lambda a, b: ((a - b + PERIOD // 2) % PERIOD) - PERIOD // 2
time.ticks_add = lambda a, d: (a + d) % PERIOD
from andon_node.drivers.pulse import Debouncer
debouncer = Debouncer(1, 20000, 0)
debouncer.edge(1000, 1)
debouncer.edge(60000, 0)
now = 60000
for minute in range(12):
    now = (now + 60000000) % PERIOD
    debouncer.keep_up(now)
debouncer.edge(now, 1)
print(debouncer.pulses)
"""
    result = run_vm(source, sim=True)
    assert result.stdout.strip() == "2", result.stderr


def test_cycles_count_however_seldom_a_sample_is_taken() -> None:
    """A machine that makes a part every twelve minutes, sampled once an hour, with the ESP32's ticks."""
    source = """
import asyncio, time
PERIOD = 1 << 30
time.ticks_diff = lambda a, b: ((a - b + PERIOD // 2) % PERIOD) - PERIOD // 2
time.ticks_add = lambda a, d: (a + d) % PERIOD
from andon_node.drivers.pulse import Counter, Debouncer
from andon_node.drivers.s0_meter import S0Meter
from andon_node.sampler import Sampler

elapsed = 0
debouncer = Debouncer(1, 20000, 0)

class Line(Counter):
    def total(self):
        debouncer.keep_up(elapsed * 1000 % PERIOD)
        return debouncer.pulses

meter = object.__new__(S0Meter)
meter.name, meter.fault, meter._pulses_per_kwh = "energy/1", "ok", 1
meter._counter = Line(1)

class Clock:
    def monotonic_ms(self):
        return elapsed

class Recorder:
    def record(self, name, unit, value):
        print(elapsed, name, value)
    def flush_due(self):
        if elapsed:
            raise SystemExit

async def sleep_ms(ms):
    global elapsed
    for at in range(720000, 3600000, 720000):
        if elapsed < at <= elapsed + ms:
            debouncer.edge(at * 1000 % PERIOD, 1)
            debouncer.edge((at + 100) * 1000 % PERIOD, 0)
    elapsed += ms

asyncio.sleep_ms = sleep_ms
asyncio.run(Sampler(3600000, DRIVERS, [], lambda: (), Recorder(), Clock()).run())
"""
    for drivers, last in (("[Line(0)]", "3600000 cycles/0 4"), ("[meter]", f"3600000 energy/1 {4 * 3_600_000}")):
        result = run_vm(source.replace("DRIVERS", drivers), sim=True)
        assert result.stdout.strip().splitlines()[-1] == last, result.stderr
