# ruff: noqa: B905, C901, UP037, PLR0912, SIM105, UP031
# MicroPython has no pathlib, contextlib, f-string formats or strict zip; the flow of one life stays in one place.
"""Runs on the MicroPython VM: the outbox on a littlefs flash whose power fails in the middle of writes and erasures.

Arguments: seed, number of power cuts, quota in bytes. Keeps its own ledger of what was appended, compares it with what is
found after each cut, and prints what happened as JSON; `faults` lists everything that should not be.
"""

import asyncio
import gc
import json
import random
import sys

import vfs  # type: ignore[import-not-found] # MicroPython's
from andon_node.journal import Journal  # type: ignore[import-not-found] # on the board
from andon_node.outbox import Outbox  # type: ignore[import-not-found] # on the board
from andon_node.pack import Pack  # type: ignore[import-not-found] # on the board
from cut_flash import CutFlash  # type: ignore[import-not-found] # in tests/firmware

BLOCK = 1024
BLOCKS = 192
FOLDER = "/cut/journal"
BASE = b"\x98\x00"


class Entry:
    """One pack: the body that must be there, and the one that may be there instead after a torn write."""

    def __init__(self, boot: int, seq: int) -> None:
        self.key = (boot, seq)
        self.sure = b""
        self.maybe = b""


class Ledger:
    """What was appended, and where it must be."""

    def __init__(self) -> None:
        self.waiting: "list[Entry]" = []
        self.taken = 0
        self.settled = 0
        # Settled, but the flash may not know it: may come again, in this order. The later ones not even the outbox knows.
        self.again: "list[tuple[int, int]]" = []
        self.unknown: "list[tuple[int, int]]" = []
        # Settled, not known on flash after a cut, and then dropped: counted as dropped though the gateway has them.
        self.overcounted = 0
        self.report = {"cuts": 0, "stops": 0, "resent": 0}
        self.faults: "list[str]" = []

    def fault(self, text: str) -> None:
        self.faults.append(text)

    def dropped(self) -> int:
        return self.taken - self.settled - len(self.waiting) + self.overcounted

    def drop(self, count: int) -> None:
        """The oldest go."""
        known = min(count, len(self.unknown))
        del self.unknown[:known]
        self.overcounted += known
        del self.waiting[: count - known]


def mount(flash: CutFlash) -> None:
    vfs.mount(vfs.VfsLfs2(flash, progsize=32, readsize=32, lookahead=32), "/cut")


def check(ledger: "Ledger") -> None:
    """Compare the flash with the ledger, pack by pack."""
    journal = Journal(FOLDER, QUOTA)
    ordinal = journal.settled
    found = []
    while True:
        pack = journal.read(ordinal)
        if pack is None:
            break
        found.append((pack.boot, pack.seq, bytes(pack.data[2:])))
        ordinal = pack.ordinal + 1
    at = 0
    ledger.again += ledger.unknown
    ledger.unknown = []
    for key in ledger.again:
        if at < len(found) and found[at][:2] == key:
            at += 1
            ledger.report["resent"] += 1
            ledger.unknown.append(key)
    ledger.again = []
    rest = found[at:]
    # What the last write of the last life was about may be there or not.
    torn = ledger.waiting[-1] if ledger.waiting and not ledger.waiting[-1].sure else None
    if torn and (not rest or rest[-1][:2] != torn.key):
        ledger.waiting.pop()
        ledger.taken -= 1
    # Packs that went at the quota; exactly as many as the journal says.
    gone = journal.dropped - ledger.dropped()
    if not 0 <= gone <= len(ledger.unknown) + len(ledger.waiting):
        ledger.fault("dropped %d, ledger %d" % (journal.dropped, ledger.dropped()))
    else:
        ledger.drop(gone)
    if len(rest) != len(ledger.waiting):
        ledger.fault("found %d packs, expected %d" % (len(rest), len(ledger.waiting)))
    for (boot, seq, body), wanted in zip(rest, ledger.waiting):
        if (boot, seq) != wanted.key:
            ledger.fault("found %d/%d, expected %d/%d" % (boot, seq, wanted.key[0], wanted.key[1]))
        elif body not in (wanted.sure, wanted.maybe):
            ledger.fault("pack %d/%d has another content" % (boot, seq))
        wanted.sure = wanted.maybe = body


async def live(ledger: "Ledger", flash: CutFlash, boot: int) -> None:
    """One start of the node: collect, queue and settle packs until the power fails, or for a while."""
    outbox = Outbox(Journal(FOLDER, QUOTA))
    if len(outbox) < len(ledger.waiting):
        ledger.fault("outbox has %d, expected %d" % (len(outbox), len(ledger.waiting)))
    pack = None
    entry = Entry(0, 0)
    seq = 0
    sending = random.random()
    for _ in range(random.randrange(250)):
        if random.random() < sending * 0.7:
            if len(outbox):
                first = await outbox.oldest()
                if flash.dead:
                    return
                outbox.settle(first)
                key = (first.boot, first.seq)
                if ledger.waiting and key == ledger.waiting[0].key:
                    if bytes(first.data[2:]) != ledger.waiting[0].maybe:
                        ledger.fault("sent %d/%d with another content" % key)
                    ledger.waiting.pop(0)
                    ledger.settled += 1
                    ledger.again.append(key)
                elif ledger.unknown and key == ledger.unknown[0]:
                    ledger.again.append(ledger.unknown.pop(0))
                else:
                    ledger.fault("sent %d/%d out of order" % key)
            continue
        if pack is None:
            pack = Pack(boot, seq, None, seq * 1000, 10)
            entry = Entry(boot, seq)
            ledger.waiting.append(entry)
            ledger.taken += 1
            seq += 1
        body = bytes(random.getrandbits(8) for _ in range(random.randrange(20, 200)))
        entry.maybe = entry.sure + body
        before = outbox.dropped
        failures = outbox.failures
        outbox.save(pack, body, 1)
        if flash.dead:
            return
        if outbox.failures != failures:
            ledger.fault("a write failed with the power on")
        entry.sure = entry.maybe
        ledger.drop(outbox.dropped - before)
        ledger.again = []
        if random.random() < 0.5 or len(entry.sure) > 700:
            pack.data = bytearray(BASE + entry.sure)
            outbox.append(pack)
            pack = None
    if len(outbox) != len(ledger.unknown) + len(ledger.waiting) - (pack is not None):
        ledger.fault("outbox counts %d, ledger %d" % (len(outbox), len(ledger.waiting)))
    if outbox.dropped != ledger.dropped():
        ledger.fault("outbox dropped %d, ledger %d" % (outbox.dropped, ledger.dropped()))


def main(seed: int, cuts: int) -> None:
    random.seed(seed)
    flash = CutFlash(bytearray(b"\xff" * (BLOCK * BLOCKS)), BLOCK)
    vfs.VfsLfs2.mkfs(flash, progsize=32, readsize=32, lookahead=32)
    ledger = Ledger()
    report = ledger.report
    boot = 0
    while report["cuts"] < cuts and not ledger.faults:
        gc.collect()  # files left open by a cut are finalised on their dead flash
        flash = CutFlash(flash.cells, BLOCK)
        mount(flash)
        if boot:
            check(ledger)
        else:
            Journal(FOLDER, QUOTA)
        boot += 1
        flash.budget = random.choice(
            (1 << 30, random.randrange(3000), random.randrange(60000), random.randrange(400000))
        )
        asyncio.run(live(ledger, flash, boot))
        report["cuts" if flash.dead else "stops"] += 1
        try:
            vfs.umount("/cut")
        except OSError:  # a dead flash cannot be unmounted cleanly
            pass
    report["lives"] = boot
    report["taken"] = ledger.taken
    report["settled"] = ledger.settled
    report["dropped"] = ledger.dropped()
    report["waiting"] = len(ledger.waiting)
    report["overcounted"] = ledger.overcounted
    sys.stdout.write(json.dumps(dict(report, faults=ledger.faults)))


QUOTA = int(sys.argv[3])
main(int(sys.argv[1]), int(sys.argv[2]))
