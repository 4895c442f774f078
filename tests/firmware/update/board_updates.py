"""Runs on the MicroPython VM: updates from a file instead of a gateway, into a littlefs flash whose power fails.

One JSON object per line comes in, one goes out. The flash is NOR in a file: every operation on it is counted, and the one that
the budget does not cover is torn in the middle; whatever is written afterwards is lost, until the power is back.
"""

# mypy: disable-error-code="arg-type, attr-defined, unreachable, no-any-return, type-arg, no-untyped-def, assignment, unused-ignore, union-attr"
# ... since the modules and the generics are MicroPython's, not CPython's.

import asyncio
import gc
import json
import os
import random
import sys

import esp32  # type: ignore[import-not-found] # the sim's
import machine  # type: ignore[import-not-found] # as above
import registers  # type: ignore[import-not-found] # the sim's
import vfs  # type: ignore[import-not-found] # MicroPython's

EIO = -5
BLOCK = 4096


class Flash:
    """NOR flash in a file; loses power at an operation."""

    def __init__(self, path: str, blocks: int) -> None:
        self.file = open(path, "r+b")  # noqa: PTH123, SIM115 - no pathlib on the VM; the flash lives as long as the power
        self.blocks = blocks
        self.budget = -1
        self.operations = 0
        self.dead = False

    def _put(self, start: int, data: bytes) -> int:
        if self.dead:
            return EIO
        self.operations += 1
        if self.operations == self.budget:
            self.dead = True
            data = memoryview(data)[: random.randrange(len(data))]
        self.file.seek(start)
        self.file.write(data)
        return EIO if self.dead else 0

    def readblocks(self, block: int, buffer: bytearray, offset: int = 0) -> int:
        self.file.seek(block * BLOCK + offset)
        self.file.readinto(buffer)
        return EIO if self.dead else 0

    def writeblocks(self, block: int, buffer: bytes, offset: int = 0) -> int:
        return self._put(block * BLOCK + offset, buffer)

    def ioctl(self, operation: int, argument: int) -> int:
        if operation == 4:
            return self.blocks
        if operation == 5:
            return BLOCK
        if operation == 6:
            return self._put(argument * BLOCK, ERASED)
        return EIO if self.dead else 0


ERASED = b"\xff" * BLOCK


class PowerCutError(Exception):
    """The power is gone before this block came."""


class Gateway:
    """Answers `GET /fw/{name}` from a file, as the real gateway does; may lose the power before a request."""

    def __init__(self, path: str, cut_at: int, etag: bytes) -> None:
        self.file = open(path, "rb")  # noqa: PTH123, SIM115 - as above
        self.file.seek(0, 2)
        self.size = self.file.tell()
        self.cut_at = cut_at
        self.etag = etag
        self.asked = 0

    async def request(self, _code: int, options: list) -> object:
        self.asked += 1
        if self.asked == self.cut_at:
            raise PowerCutError
        number = int.from_bytes(options[-1][1], "big") >> 4
        self.file.seek(number * 512)
        data = self.file.read(512)
        more = number * 512 + len(data) < self.size
        if not data:
            return coap.Message(coap.ACK, coap.BAD_REQUEST, 0, b"", [], b"no such block")
        return coap.Message(
            coap.ACK, coap.CONTENT, 0, b"", [(4, self.etag), (23, coap.uint(number << 4 | more << 3 | 5))], data
        )


class Board:
    """The flash with the base and the update code at work on it; the code itself comes from the host."""

    def __init__(self) -> None:
        self.flash = None

    def power_on(self, budget: int) -> None:
        self.power_off()
        self.flash = Flash(self.path, self.blocks)
        vfs.mount(vfs.VfsLfs2(self.flash), "/flash")
        os.chdir("/flash")
        self.flash.budget = budget

    def power_off(self) -> None:
        if self.flash is None:
            return
        os.chdir("/")
        gc.collect()  # files left open by a cut are closed on their dead flash
        vfs.umount("/flash")
        self.flash.file.close()
        self.flash = None

    def op_format(self, path: str, blocks: int) -> None:
        self.power_off()
        self.path = path
        self.blocks = blocks
        with open(path + ".registers", "wb") as file:  # noqa: PTH123 - as above
            file.write(b"ANDR" + bytes([registers.VERSION, 0]) + bytes(4096))
        registers.attach(path + ".registers")
        with open(path, "wb") as file:  # noqa: PTH123 - as above
            for _ in range(blocks):  # noqa: FURB122 - MicroPython's files have no writelines
                file.write(ERASED)
        flash = Flash(path, blocks)
        vfs.VfsLfs2.mkfs(flash)
        flash.file.close()
        self.power_on(-1)
        os.mkdir("andon_node")  # noqa: PTH102 - no pathlib on the VM

    def op_write(self, path: str, text: str) -> None:
        with open(path, "w") as file:  # noqa: PTH123 - as above
            file.write(text)

    def op_read(self, path: str) -> object:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            return file.read().hex()

    def op_fill(self, keep_blocks: int) -> None:
        """Fill the flash but for some blocks."""
        with open("filler", "wb") as file:  # noqa: PTH123 - as above
            while os.statvfs(".")[3] > keep_blocks:
                file.write(ERASED)

    def op_flip(self, path: str, at: int) -> None:
        with open(path, "r+b") as file:  # noqa: PTH123 - as above
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))

    def op_start(self, *, watchdog: bool = False) -> str:
        """What boot.py does: choose; returns what runs."""
        crumbs.cause = "watchdog" if watchdog else "power-on"
        path = list(sys.path)
        slots.enter()
        sys.path[:] = path
        return slots.running

    def op_update(self, bundle: str, version: str, **cuts: object) -> object:
        """Fetch a bundle; the power fails at a request, at a flash operation, or not at all."""
        return asyncio.run(self.update(bundle, version, **cuts))

    async def update(
        self, bundle: str, version: str, cut_at: int = 0, budget: int = 0, etag: str = "e1", running: str = "1.0.0"
    ) -> object:
        andon_node.VERSION = running
        gateway = Gateway(bundle, cut_at, etag.encode())
        if budget:
            self.flash.budget = self.flash.operations + budget
        before = self.flash.operations
        outcome = "stopped"
        try:
            updates = desk.Updates(gateway.request)
            if updates._job is None:
                refusal = updates._take(json.dumps({"name": "a.fw", "version": version}))
                if refusal is not None:
                    return {"refused": refusal.code, "why": str(refusal.payload)}
            job = updates._job
            try:
                activated = await fetch.carry_out(updates, job)
                updates._drop_job("")
                outcome = "activated" if activated else "cancelled"
            except (UpdateError, MemoryError) as error:
                outcome = "failed"
                updates._fail(job, str(error))
                updates._last = str(error)
        except PowerCutError:
            outcome = "cut"
        except OSError as error:
            if not self.flash.dead:
                raise
            outcome = "cut: " + repr(error)
        return {
            "outcome": "cut" if self.flash.dead else outcome,
            "why": updates._last if outcome == "failed" else "",
            "asked": gateway.asked,
            "operations": self.flash.operations - before,
        }

    def op_remove(self, path: str) -> None:
        os.remove(path)  # noqa: PTH107 - no pathlib on the VM

    def op_chip(self, path: str) -> None:
        """The chip starts: its bootloader chooses an image."""
        machine.flash_image = path, vfs.VfsPosix("/")
        sys.modules.pop("sim_partition", None)
        __import__("sim_partition")

    def op_image(self) -> object:
        """What runs, and what stands in its partition, to the first byte that was never written."""
        running = esp32.Partition(esp32.Partition.RUNNING)
        block = bytearray(BLOCK)
        running.readblocks(0, block)
        return [running.info()[4], block[:16].hex()]

    def op_guard(self, *, works: bool, limit_ms: int = 60) -> object:
        """Run the guard of one start; returns whether it confirmed."""
        resets: list = []

        def reset(why: str) -> None:
            resets.append(why)
            raise PowerCutError

        crumbs.reset = reset
        try:  # noqa: SIM105 - no contextlib on the VM
            asyncio.run(guard.Guard(lambda: works, lambda: 0, Clock(), 20, limit_ms).run())
        except PowerCutError:
            pass
        return resets

    def op_confirm(self) -> None:
        slots.confirm()

    def op_give_up(self) -> None:
        slots.give_up("test")

    def op_crashed(self) -> bool:
        return slots.crashed("test")

    def op_state(self) -> object:
        return slots.load().fields()

    def op_power(self, budget: int = -1) -> None:
        """Power off and on."""
        self.power_on(budget)

    def op_dead(self) -> bool:
        return self.flash.dead

    def op_free(self) -> int:
        gc.collect()
        return gc.mem_free()

    def op_tree(self) -> object:
        found: list = []

        def walk(folder: str) -> None:
            for name, kind, *_ in os.ilistdir(folder or "."):
                path = folder + "/" + name if folder else name
                if kind == 0x4000:
                    walk(path)
                else:
                    found.append([path, os.stat(path)[6]])  # noqa: PTH116 - no pathlib on the VM

        walk("")
        return found

    def op_seed(self, seed: int) -> None:
        random.seed(seed)


import andon_node  # type: ignore[import-not-found] # noqa: E402 - on the board's path only
from andon_base import crumbs, slots  # type: ignore[import-not-found] # noqa: E402 - as above
from andon_node.clock import Clock  # type: ignore[import-not-found] # noqa: E402 - as above
from andon_node.coap import message as coap  # type: ignore[import-not-found] # noqa: E402 - as above
from andon_node.update import desk, fetch, guard  # type: ignore[import-not-found] # noqa: E402 - as above
from andon_node.update.manifest import UpdateError  # type: ignore[import-not-found] # noqa: E402 - as above


def main() -> None:
    board = Board()
    for line in sys.stdin:
        operation, arguments, options = json.loads(line)
        try:
            answer = {"ok": getattr(board, "op_" + operation)(*arguments, **options)}
        except Exception as error:  # noqa: BLE001 - the test decides
            sys.print_exception(error, sys.stderr)
            answer = {"error": repr(error)}
        sys.stdout.write(json.dumps(answer) + "\n")


main()
