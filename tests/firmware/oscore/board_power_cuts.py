"""Runs on the MicroPython VM: take sequence numbers on a littlefs flash whose power fails in the middle of a write.

Arguments: seed, number of power cuts. Prints what happened as JSON. A number taken twice, or lower than one taken
before, is `reused`.
"""

import gc
import json
import os
import random
import sys

import vfs  # type: ignore[import-not-found] # MicroPython's
from andon_node.oscore.errors import SequenceError  # type: ignore[import-not-found] # on the board
from andon_node.oscore.sequence import FileSequenceStore, SenderSequence  # type: ignore[import-not-found] # on the board
from cut_flash import CutFlash  # type: ignore[import-not-found] # in tests/firmware

BLOCK = 256
BLOCKS = 64
PATH = "/cut/oscore"
DAMAGES = ("truncate", "flip", "remove")


def damage(kind: str, path: str) -> None:
    """Spoil one of the two files, as a failing flash cell or a file system without atomic writes would."""
    with open(path, "rb") as file:  # noqa: PTH123 - no pathlib on the VM
        content = bytearray(file.read())
    if kind == "remove":
        os.remove(path)  # noqa: PTH107 - as above
        return
    if kind == "truncate":
        content = content[: random.randrange(len(content))]
    else:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    with open(path, "wb") as file:  # noqa: PTH123 - as above
        file.write(content)


def live(flash: CutFlash, highest: int, report: "dict[str, int]") -> int:
    """One start of the node: take numbers until the power fails, or for a while. Returns the highest number taken."""
    flash.budget = random.choice((1 << 30, random.randrange(300), random.randrange(3000)))
    vfs.mount(vfs.VfsLfs2(flash, progsize=16, readsize=16, lookahead=16), "/cut")
    try:
        sequence = SenderSequence(FileSequenceStore(PATH), random.randrange(1, 40))
        for _ in range(random.randrange(200)):
            number = sequence.take()
            report["taken"] += 1
            if number <= highest:
                report["reused"] += 1
            highest = max(number, highest)
        if random.randrange(4) == 0:
            damage(random.choice(DAMAGES), PATH + random.choice((".0", ".1")))
            report["damaged"] += 1
    except (SequenceError, OSError):
        if not flash.dead:
            raise
    report["cuts" if flash.dead else "stops"] += 1
    try:  # noqa: SIM105 - no contextlib on the VM
        vfs.umount("/cut")
    except OSError:  # a dead flash cannot be unmounted cleanly
        pass
    return highest


def main(seed: int, cuts: int) -> None:
    random.seed(seed)
    report = {"cuts": 0, "stops": 0, "taken": 0, "reused": 0, "damaged": 0}
    flash = CutFlash(bytearray(b"\xff" * (BLOCK * BLOCKS)), BLOCK)
    vfs.VfsLfs2.mkfs(flash, progsize=16, readsize=16, lookahead=16)
    vfs.mount(vfs.VfsLfs2(flash, progsize=16, readsize=16, lookahead=16), "/cut")
    FileSequenceStore(PATH).create()
    vfs.umount("/cut")
    highest = -1
    while report["cuts"] < cuts:
        gc.collect()  # files left open by a cut are finalised on their dead flash
        flash = CutFlash(flash.cells, BLOCK)
        highest = live(flash, highest, report)
    report["highest"] = highest
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
