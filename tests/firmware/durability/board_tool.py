# ruff: noqa: FURB122, PTH116, PTH123, SIM115, T201, UP041
# MicroPython has no pathlib, contextlib, f-string formats or strict zip; the flow of one life stays in one place.
"""Runs on the MicroPython VM: one operation on a journal in a folder of the host, or on an emulated flash chip.

fill FOLDER QUOTA SIZES      append packs of these sizes (0-255 filler), none settled
read FOLDER QUOTA            drain the outbox; print what came as JSON
wear SECONDS PACK_BYTES      append one pack a second, settled at once, on a chip like the ESP32's; print the wear
endless IMAGE                append packs to a littlefs image in a file for ever, printing each number
drain IMAGE                  print what is in that image
"""

import asyncio
import json
import os
import sys

import vfs  # type: ignore[import-not-found] # MicroPython's
from andon_node.journal import Journal  # type: ignore[import-not-found] # on the board
from andon_node.outbox import Outbox  # type: ignore[import-not-found] # on the board
from andon_node.pack import Pack  # type: ignore[import-not-found] # on the board

BLOCK = 4096
HEAD = b"\x98\x00"


class CountingChip:
    """NOR flash in RAM that counts what wears it; geometry of the ESP32 port (vfs partition of 2 MiB)."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.cells = bytearray(b"\xff" * (BLOCK * blocks))
        self.erased = [0] * blocks
        self.programmed = 0

    def readblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        start = block * BLOCK + offset
        buffer[:] = memoryview(self.cells)[start : start + len(buffer)]

    def writeblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        start = block * BLOCK + offset
        self.cells[start : start + len(buffer)] = buffer
        self.programmed += len(buffer)

    def ioctl(self, operation: int, argument: int) -> int:
        if operation == 4:
            return self.blocks
        if operation == 5:
            return BLOCK
        if operation == 6:
            self.erased[argument] += 1
        return 0


class ImageChip:
    """Flash as a file: what was written stays when the VM is killed."""

    BLOCKS = 64

    def __init__(self, path: str) -> None:
        try:
            os.stat(path)
        except OSError:
            with open(path, "wb") as image:
                for _ in range(self.BLOCKS):
                    image.write(b"\xff" * BLOCK)
        self._file = open(path, "r+b")

    def readblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        self._file.seek(block * BLOCK + offset)
        self._file.readinto(buffer)

    def writeblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        self._file.seek(block * BLOCK + offset)
        self._file.write(buffer)

    def ioctl(self, operation: int, argument: int) -> int:
        if operation == 4:
            return self.BLOCKS
        if operation == 5:
            return BLOCK
        if operation == 6:
            self._file.seek(argument * BLOCK)
            self._file.write(b"\xff" * BLOCK)
        return 0


def mount(chip: object) -> None:
    try:
        vfs.mount(vfs.VfsLfs2(chip), "/chip")
    except OSError:
        vfs.VfsLfs2.mkfs(chip)
        vfs.mount(vfs.VfsLfs2(chip), "/chip")


def append(outbox: Outbox, boot: int, seq: int, body: bytes) -> Pack:
    pack = Pack(boot, seq, None, 1000 * seq, 10)
    outbox.save(pack, body, 1)
    pack.data = bytearray(HEAD + body)
    outbox.append(pack)
    return pack


async def drained(outbox: Outbox) -> "list[list[object]]":
    """Everything that waits, as [boot, seq, body], settled one by one."""
    packs = []
    while len(outbox):
        # The head may have to step over what is lost up to the end: then nothing comes.
        try:
            pack = await asyncio.wait_for(outbox.oldest(), 0.05)
        except asyncio.TimeoutError:
            break
        packs.append([pack.boot, pack.seq, bytes(pack.data[2:]).hex()])
        outbox.settle(pack)
    return packs


def report(folder: str, quota: int) -> None:
    outbox = Outbox(Journal(folder, quota))
    packs = asyncio.run(drained(outbox))
    sys.stdout.write(json.dumps({"packs": packs, "dropped": outbox.dropped, "left": len(outbox)}) + "\n")


def fill(folder: str, quota: int, sizes: "list[int]") -> None:
    outbox = Outbox(Journal(folder, quota))
    for seq, size in enumerate(sizes):
        append(outbox, 1, seq, bytes([seq & 0xFF]) * size)
    sys.stdout.write(json.dumps({"dropped": outbox.dropped, "waiting": len(outbox)}) + "\n")


async def endless(outbox: Outbox) -> None:
    boot = outbox._journal.last_boot + 1
    seq = 0
    while True:
        append(outbox, boot, seq, b"%08d%08d" % (boot, seq) + b"x" * 100)
        print("saved", boot, seq)
        seq += 1
        # The gateway is slower than the node.
        if seq % 3 == 0:
            pack = await outbox.oldest()
            outbox.settle(pack)
            print("settled", pack.boot, pack.seq)


def wear(seconds: int, pack_bytes: int) -> None:
    chip = CountingChip(512)
    mount(chip)
    outbox = Outbox(Journal("/chip/journal", 262144))
    before = sum(chip.erased)
    chip.programmed = 0
    for seq in range(seconds):
        outbox.settle(append(outbox, 1, seq, bytes(pack_bytes)))
    erased = sum(chip.erased) - before
    result = {"erased": erased / seconds, "programmed": chip.programmed / seconds, "worst_block": max(chip.erased)}
    sys.stdout.write(json.dumps(result) + "\n")


def _sizes(text: str) -> "list[int]":
    # 10,20,30 or 100*2000: an argument of the VM cannot be long.
    size, _, times = text.partition("*")
    if times:
        return [int(size)] * int(times)
    return [int(size) for size in text.split(",")]


def main(command: str, arguments: "list[str]") -> None:
    if command == "fill":
        fill(arguments[0], int(arguments[1]), _sizes(arguments[2]))
    elif command == "read":
        report(arguments[0], int(arguments[1]))
    elif command == "wear":
        wear(int(arguments[0]), int(arguments[1]))
    else:
        mount(ImageChip(arguments[0]))
        if command == "endless":
            asyncio.run(endless(Outbox(Journal("/chip/journal", 196608))))
        else:
            report("/chip/journal", 196608)


main(sys.argv[1], sys.argv[2:])
