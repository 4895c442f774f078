"""The chip's `romfs` partition: a file beside the flash image, and the memory that it is mapped into.

`vfs.rom_ioctl` as MicroPython's ports have it; the firmware writes an ESP32's through `esp32.Partition("romfs")`.
"""

import sim_parts
from micropython import const

LABEL = "romfs"
_BLOCK = const(4096)

_memory = None
_path = None
_host = None


def attach(memory, path, host):
    """Map the partition's file, which need not exist yet, into a piece of memory."""
    global _memory, _path, _host
    _memory, _path, _host = memory, path, host
    try:
        with host.open(path, "rb") as file:
            file.readinto(memory)
    except OSError:
        # A new chip is erased.
        with host.open(path, "wb") as file:
            for at in range(0, len(memory), _BLOCK):
                memory[at : at + _BLOCK] = b"\xff" * _BLOCK
                file.write(memory[at : at + _BLOCK])


def rom_ioctl(operation, *arguments):
    """1: how many partitions; 2: the partition as memory; 3: erase so many bytes; 4: write what is erased."""
    if operation == 3:
        return _erase(arguments[1])
    if operation == 4:
        return _program(arguments[1], arguments[2])
    return {1: 1, 2: _memory}.get(operation, -22)


def _erase(size):
    if size > len(_memory):
        return -22
    for at in range(0, size, _BLOCK):
        _memory[at : at + _BLOCK] = b"\xff" * _BLOCK
    _keep(0, size)
    # What may be written at once.
    return 16


def _program(at, data):
    if at + len(data) > len(_memory):
        return -22
    for number, byte in enumerate(data):
        # Flash: ones become zeros, never the other way.
        _memory[at + number] &= byte
    _keep(at, len(data))
    return 0


def _keep(at, size):
    with _host.open(_path, "r+b") as file:
        file.seek(at)
        file.write(_memory[at : at + size])


class RomPartition:
    """`esp32.Partition("romfs")`."""

    def info(self):
        """Type, subtype, address, size, label, encrypted."""
        return (1, 0x8F, 0x380000, len(_memory), LABEL, False)

    def readblocks(self, block, buffer, offset=0):
        """Read."""
        at = block * _BLOCK + offset
        buffer[:] = _memory[at : at + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        """Erase and write; what is mapped shows it at once."""
        at = block * _BLOCK + offset
        if at + len(buffer) > len(_memory):
            raise OSError(22)
        with _host.open(_path, "r+b") as file:
            file.seek(at)
            file.write(buffer)
        _memory[at : at + len(buffer)] = buffer


class Partition:
    """`esp32.Partition`: this one by its label, the chip's OTA partitions by theirs or by their role."""

    BOOT = 0
    RUNNING = 1
    TYPE_APP = 0
    TYPE_DATA = 1

    def __new__(cls, id, block_size=_BLOCK):  # noqa: A002 - MicroPython's signature
        """The `romfs` partition is needed at many starts, the others for few updates: they are loaded then."""
        return RomPartition() if id == LABEL else sim_parts.load("sim_partition").Partition(id, block_size)

    @staticmethod
    def mark_app_valid_cancel_rollback():
        """The running image works."""
        sim_parts.load("sim_partition").Partition.mark_app_valid_cancel_rollback()
