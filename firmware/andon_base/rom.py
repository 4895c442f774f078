"""Applications run in place, from flash that is mapped into memory, where the board has a `romfs` partition.

MicroPython copies a .mpy file of littlefs into the heap, but executes one of a ROMFS where it lies. So the files of an
application that starts are first made into a ROMFS image in its third of the partition, unless it is there already. The
files on littlefs stay what counts: a board without the partition, or an image that does not fit, runs from them.
"""

import hashlib
import os
import struct
import sys
from binascii import crc32

import vfs
from machine import Pin
from micropython import const

from andon_base.romfs import Tree

# Where the images are mounted, by the folder of the application ("" is the base); the order is that in the partition.
_PLACES = {"": "/base", "app_a": "/app", "app_b": "/app"}
_ORDER = ("", "app_a", "app_b")
_PACKAGES = ("andon_base", "andon_node")
_BLOCK = const(4096)
# Before an image: what it was made of, its length and its CRC-32. Written last.
_SEAL = const("<8s32sII")
_MAGIC = const(b"ANDONROM")
_IMAGE_AT = const(64)
# rom_ioctl: number of partitions, and one of them as memory; erase from its start on, write.
_COUNT = const(1)
_MEMORY = const(2)
_ERASE = const(3)
_WRITE = const(4)
_STM32 = hasattr(Pin, "cpu")


def enter():
    """Run the base in place from here on, also what is imported already."""
    path = place("")
    if path:
        sys.path.insert(0, path)
        forget()
        del sys.modules["andon_base"]


def forget():
    """Give the memory of these modules back; they are needed at a start only."""
    package = sys.modules["andon_base"]
    for name in ("romfs", "rom"):
        sys.modules.pop("andon_base." + name, None)
        if hasattr(package, name):
            delattr(package, name)


def place(folder, manifest=None):
    """Make an application ready to run in place.

    Args:
        folder: Its folder, "" for the base.
        manifest: File that tells its content, where there is one; else its files are read.

    Returns:
        The path to import it from: the image's, or the folder itself where it cannot run in place.
    """
    try:
        memory = _memory(_ORDER.index(folder))
        if memory is None:
            return folder
        tree = Tree(folder, [name for name in _PACKAGES if _exists(folder, name)])
        if not _compiled(tree):
            return folder
        identity = _identity(tree, manifest)
        size = _sealed(memory, identity)
        if not size:
            print("rom: putting %s into place" % (folder or "the base"))
            _write(_ORDER.index(folder), len(memory), tree, identity)
            size = _sealed(memory, identity)
        # A flash that did not keep what was written: VfsRom refuses an image of no bytes.
        vfs.mount(vfs.VfsRom(memory[_IMAGE_AT : _IMAGE_AT + size]), _PLACES[folder])
    except Exception as error:
        # It runs from littlefs, in more heap; an error here must never keep a node from starting.
        print("rom:", repr(error))
        return folder
    return _PLACES[folder]


def _memory(number):
    """Where an image lies, mapped: its third of the partition; None where it has no place."""
    if not hasattr(vfs, "rom_ioctl") or vfs.rom_ioctl(_COUNT) < 1:
        return None
    memory = memoryview(vfs.rom_ioctl(_MEMORY, 0))
    if _STM32:
        # Erased from its start only: one image, the base's.
        return None if number else memory
    third = _third(len(memory))
    return memory[number * third : (number + 1) * third]


def _third(size):
    return size // _BLOCK // len(_ORDER) * _BLOCK


def _exists(folder, name):
    try:
        os.stat(folder + "/" + name if folder else name)
    except OSError:
        return False
    return True


def _compiled(tree):
    """Whether there is something and all of it is compiled: sources would be compiled into the heap anyway."""
    found = False
    for path in tree.files():
        if not path.endswith(".mpy"):
            return False
        found = True
    return found


def _identity(tree, manifest):
    digest = hashlib.sha256()
    for path in tree.files() if manifest is None else (manifest,):
        digest.update(path.encode() + b"\n%d\n" % os.stat(path)[6])
        with open(path, "rb") as file:
            while True:
                piece = file.read(512)
                if not piece:
                    break
                digest.update(piece)
    return digest.digest()


def _sealed(memory, identity):
    """Size of the good image of this identity, 0 when there is none."""
    magic, made_of, size, crc = struct.unpack_from(_SEAL, memory)
    if magic != _MAGIC or made_of != identity or size > len(memory) - _IMAGE_AT:
        return 0
    return size if crc32(memory[_IMAGE_AT : _IMAGE_AT + size]) == crc else 0


def _write(number, room, tree, identity):
    """Write an image, its seal last."""
    size = tree.size()
    if _IMAGE_AT + size > room:
        raise OSError("an image of %d bytes: the place has %d" % (size, room - _IMAGE_AT))
    flash = _Stm32Flash(_IMAGE_AT + size) if _STM32 else _Esp32Flash(number * room // _BLOCK)
    block = 0
    buffer = bytearray(b"\xff" * _BLOCK)
    filled = _IMAGE_AT
    crc = 0
    for piece in tree.pieces():
        crc = crc32(piece, crc)
        view = memoryview(piece)
        while view:
            taken = min(_BLOCK - filled, len(view))
            buffer[filled : filled + taken] = view[:taken]
            view = view[taken:]
            filled += taken
            if filled == _BLOCK:
                flash.write(block, buffer)
                block += 1
                filled = 0
    if filled:
        flash.write(block, buffer)
    flash.seal(buffer, struct.pack(_SEAL, _MAGIC, identity, size, crc))


class _Esp32Flash:
    """A third of the partition, in blocks that are erased as they are written."""

    def __init__(self, first):
        from esp32 import Partition

        self._partition = Partition("romfs")
        self._first = first

    def write(self, block, buffer):
        self._partition.writeblocks(self._first + block, buffer)

    def seal(self, buffer, seal):
        self._partition.readblocks(self._first, buffer)
        buffer[: len(seal)] = seal
        self._partition.writeblocks(self._first, buffer)


class _Stm32Flash:
    """The partition from its start, erased first; what was written as ones can still become the seal."""

    def __init__(self, size):
        self._do(_ERASE, size)

    def write(self, block, buffer):
        self._do(_WRITE, block * _BLOCK, buffer)

    def seal(self, _buffer, seal):
        self._do(_WRITE, 0, seal)

    def _do(self, operation, *arguments):
        result = vfs.rom_ioctl(operation, 0, *arguments)
        if result < 0:
            raise OSError(-result)
