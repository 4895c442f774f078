"""Times of packs that outlived their boot: exact where that boot learnt the epoch, else in order and flagged."""

from __future__ import annotations

import ast
import time
from typing import TYPE_CHECKING

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
from firmware.emulated_board import board_config, wait_until
from firmware.micropython_vm import run_vm

if TYPE_CHECKING:
    from pathlib import Path

    from firmware.aiocoap_gateway import AiocoapGateway, Pack
    from firmware.emulated_board import EmulatedBoard
    from firmware.register_file import RegisterFile


def temperature_times(packs: list[Pack]) -> list[int]:
    return [
        int((pack.base_time + offset) * 1000)
        for pack in packs
        for name, offset, _ in pack.readings
        if name == "temperature/0"
    ]


async def test_packs_of_an_earlier_boot_keep_their_true_time(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    registers.sensor(0, gpio=4, raw=320)
    gateway.telemetry_code = aiocoap.SERVICE_UNAVAILABLE
    board.put_config(board_config(gateway.port))
    board.start()
    await wait_until(lambda: gateway.attempts >= 1 and registers.reads(0) >= 4)
    # Reading, then journal, within the same turn of the loop.
    reads = registers.reads(0)
    await wait_until(lambda: registers.reads(0) > reads)
    taken = registers.log(0)[:reads]
    board.kill()
    gateway.telemetry_code = aiocoap.CHANGED
    board.start()
    await wait_until(lambda: any(pack.boot == 2 for pack in gateway.packs))
    earlier = [pack for pack in gateway.packs if pack.boot == 1]
    assert [pack.seq for pack in earlier] == list(range(len(earlier)))
    times = temperature_times(earlier)
    assert len(times) >= reads
    assert not any(pack.values("node/clock") for pack in earlier)
    epoch_of_monotonic_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000
    for sent_ms, record in zip(times, taken, strict=False):
        assert abs(sent_ms - (record.time_us + epoch_of_monotonic_us) / 1000) < 50


async def test_packs_of_a_boot_without_a_clock_are_in_order_and_flagged(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    registers.sensor(0, gpio=4, raw=320)
    registers.wifi(reachable=False)
    board.put_config(board_config(gateway.port))
    board.start()
    await wait_until(lambda: registers.reads(0) >= 4)
    board.kill()
    off_since = time.monotonic()
    await wait_until(lambda: time.monotonic() > off_since + 1)
    registers.wifi(reachable=True)
    board.start()
    await wait_until(lambda: any(pack.boot == 2 and pack.values("temperature/0") for pack in gateway.packs))
    earlier = [pack for pack in gateway.packs if pack.boot == 1]
    assert all(pack.values("node/clock") == ["estimated"] for pack in earlier)
    assert not any(pack.values("node/clock") for pack in gateway.packs if pack.boot == 2)
    times = temperature_times(gateway.packs)
    assert times == sorted(set(times))
    # Late by as long as the power was off, and no more.
    late_ms = times[0] - (registers.log(0)[0].time_us // 1000 + time.time_ns() // 10**6 - time.monotonic_ns() // 10**6)
    assert 900 < late_ms < 3500


def test_boots_that_never_learnt_the_epoch_are_strung_together(tmp_path: Path) -> None:
    """Boots 3 and 5 never learnt it, 4 did, 1 is older than what is kept."""
    source = """
import sys
from andon_node.epochs import Epochs

class Journal:
    last_boot = 5
    last_ms = 7000

class Clock:
    epoch = None
    def epoch_ms(self, monotonic_ms):
        return None if self.epoch is None else self.epoch + monotonic_ms
    def base_time_ms(self, taken_ms):
        return taken_ms - 100 if self.epoch is None else self.epoch + taken_ms

with open(sys.argv[1], "w") as file:
    file.write("3 lasted 2000\\nnonsense 1 x\\n") if len(sys.argv) > 2 else file.write("3 lasted 2000\\n4 epoch 1000000\\n")
clock = Clock()
epochs = Epochs(sys.argv[1], 6, Journal, clock)
if len(sys.argv) > 2:
    # A damaged line costs exactness, never a start.
    print(epochs.base_time_ms(3, 0)[1])
else:
    assert epochs.base_time_ms(4, 50) == (1000050, True)
    assert epochs.base_time_ms(3, 2000) == (999999, False)
    assert epochs.base_time_ms(3, 0) == (997999, False)
    # Until the epoch is known, an age; then a time. Boot 5 ended when boot 6 began.
    assert epochs.base_time_ms(5, 7000) == (-101, False)
    clock.epoch = 5000000
    clock.on_epoch(5000000)
    assert epochs.base_time_ms(5, 7000) == (4999999, False)
    assert epochs.base_time_ms(6, 10) == (5000010, True)
    first = epochs.base_time_ms(1, 10)[0]
    assert first < epochs.base_time_ms(1, 20)[0] < 997999
    print(open(sys.argv[1]).read().split("\\n"))
"""
    result = run_vm(source, str(tmp_path / "epochs.txt"))
    lines = ["3 lasted 2000", "4 epoch 1000000", "5 lasted 7000", "6 epoch 5000000", ""]
    assert result.stdout.strip() == repr(lines), result.stderr
    assert run_vm(source, str(tmp_path / "epochs.txt"), "damaged").stdout.strip() == "False"


def test_numbers_that_jump_by_millions_cost_no_time_and_keep_the_order(tmp_path: Path) -> None:
    """A board that was provisioned anew: nothing counts through the boots that never were."""
    source = """
import sys
from andon_node.epochs import Epochs

class Journal:
    last_boot = 5
    last_ms = 7000

class Clock:
    def epoch_ms(self, monotonic_ms):
        return 2000000000 + monotonic_ms
    def base_time_ms(self, taken_ms):
        return 2000000000 + taken_ms

with open(sys.argv[1], "w") as file:
    file.write("3 lasted 2000\\n")
epochs = Epochs(sys.argv[1], 60000000, Journal, Clock())
print([epochs.base_time_ms(boot, ms) for boot, ms in ((1, 10), (3, 2000), (5, 7000), (60000000, 5))])
"""
    found = ast.literal_eval(run_vm(source, str(tmp_path / "epochs.txt")).stdout)
    times = [time_ms for time_ms, _ in found]
    assert times == sorted(times)
    assert [exact for _, exact in found] == [False, False, False, True]
    assert times[3] - times[2] < 1000
