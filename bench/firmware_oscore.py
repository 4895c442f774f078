"""What OSCORE costs the node; runs on the MicroPython VM in the node's heap and prints one JSON line.

    MICROPYPATH=firmware:.frozen micropython -X heapsize=128k bench/firmware_oscore.py

For the compiled package, point MICROPYPATH at a folder made with `mpy-cross`. Times are microseconds for one message, the
best of several rounds; an ESP32 is slower by a factor that only a board can tell. `garbage_bytes` is what the heap
grows by for one message with the collector off, its results included; `package_bytes` and `context_bytes` stay for good.
"""

import gc
import json
import sys
import time

gc.collect()
EMPTY = gc.mem_alloc()

from andon_node.oscore import message  # noqa: E402 - its memory is what we measure
from andon_node.oscore.context import SecurityContext  # noqa: E402 - as above
from andon_node.oscore.sequence import SenderSequence  # noqa: E402 - as above

gc.collect()
LOADED = gc.mem_alloc()

PACK = bytes(200)  # as long as a pack of 8 readings; the content does not matter to a cipher
POST_T = [(11, b"t"), (12, b"\x70")]
POST, CHANGED = 0x02, 0x44
ROUNDS = 100
BATCH = 10
STAGES = ("protect_request", "unprotect_request", "protect_response", "unprotect_response")


class RamSequence:
    """Stands in for the flash, which is written once in 1,024 messages."""

    def load(self) -> int:
        """Begin at 0."""
        return 0

    def reserve(self, upto: int) -> None:
        """Nothing to store."""


def exchange_round(node: SecurityContext, gateway: SecurityContext, costs: "list[list[int]]") -> None:
    """Send a batch through all four stages and keep each stage's smallest time and heap growth."""
    gc.collect()
    gc.disable()
    work: list = [None] * BATCH
    for stage in range(len(STAGES)):
        heap, began = gc.mem_alloc(), time.ticks_us()
        for i in range(BATCH):
            done = work[i]
            if stage == 0:
                work[i] = message.protect_request(node, POST, POST_T, PACK)
            elif stage == 1:
                work[i] = (done[3], message.unprotect_request(gateway, done[1], done[2])[3])
            elif stage == 2:  # noqa: PLR2004 - the stages are numbered as STAGES names them
                work[i] = (done[0], message.protect_response(gateway, done[1], CHANGED, [], b""))
            else:
                work[i] = message.unprotect_response(node, done[0], done[1][1], done[1][2])
        spent, grown = time.ticks_diff(time.ticks_us(), began), gc.mem_alloc() - heap
        costs[stage][0] = min(costs[stage][0], spent)
        costs[stage][1] = min(costs[stage][1], grown)
    gc.enable()


def main() -> None:
    """Measure and print."""
    secret = bytes(range(16))
    before = gc.mem_alloc()
    node = SecurityContext(secret, b"\x01", b"\x02", SenderSequence(RamSequence()), fresh=True)
    gc.collect()
    context_bytes = gc.mem_alloc() - before
    began = time.ticks_us()
    gateway = SecurityContext(secret, b"\x02", b"\x01", SenderSequence(RamSequence()), fresh=True)
    derive_us = time.ticks_diff(time.ticks_us(), began)
    costs = [[1 << 29, 1 << 29] for _ in STAGES]
    for _ in range(ROUNDS):
        exchange_round(node, gateway, costs)
    report = {"package_bytes": LOADED - EMPTY, "context_bytes": context_bytes, "derive_us": derive_us}
    for name, (spent, grown) in zip(STAGES, costs):  # noqa: B905 - the VM knows no strict=
        report[name] = {"us": spent / BATCH, "garbage_bytes": grown // BATCH}
    sys.stdout.write(json.dumps(report) + "\n")


main()
