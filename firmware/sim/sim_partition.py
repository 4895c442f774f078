"""`esp32.Partition` of a chip with two OTA partitions, and its bootloader, as files beside the flash image.

The bootloader is ESP-IDF's with rollback: an image that was set to boot is started once; unless it is marked valid in that
start, the next start goes back to the one before.
"""

import json

import machine
from micropython import const

_SIZE = const(65536)
_BLOCK = const(4096)
_LABELS = ("ota_0", "ota_1")

_data = {"boot": "ota_0", "running": "ota_0", "state": "valid"}


# Path of the flash image, and the file system that it is on.
_flash, _host = machine.flash_image


def _boot():
    """Do what the bootloader does."""
    try:
        with _host.open(_flash + ".otadata", "r") as file:
            _data.update(json.loads(file.read()))
    except OSError:
        return
    if _data["state"] == "new":
        _data["running"] = _data["boot"]
        _data["state"] = "pending"
        _keep()
    elif _data["state"] == "pending":
        _data["boot"] = _data["running"] = _other(_data["running"])
        _data["state"] = "valid"
        _keep()


def _keep():
    with _host.open(_flash + ".otadata", "w") as file:
        file.write(json.dumps(_data))


def _other(label):
    return _LABELS[1 - _LABELS.index(label)]


class Partition:
    """One OTA partition; only what updates need."""

    BOOT = 0
    RUNNING = 1
    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, id, block_size=_BLOCK):  # noqa: A002, ARG002 - MicroPython's signature
        if id in (Partition.BOOT, Partition.RUNNING):
            id = _data["running" if id == Partition.RUNNING else "boot"]  # noqa: A001 - see above
        if id not in _LABELS:
            raise OSError(2)
        self._label = id

    def info(self):
        """Type, subtype, address, size, label, encrypted."""
        number = _LABELS.index(self._label)
        return (Partition.TYPE_APP, 16 + number, 0x10000 + number * _SIZE, _SIZE, self._label, False)

    def get_next_update(self):
        """The partition that an update may write."""
        return Partition(_other(self._label))

    def _file(self):
        path = "%s.%s" % (_flash, self._label)
        try:
            return _host.open(path, "r+b")
        except OSError:
            with _host.open(path, "wb") as file:
                for _ in range(_SIZE // _BLOCK):
                    file.write(b"\xff" * _BLOCK)
            return _host.open(path, "r+b")

    def readblocks(self, block, buffer, offset=0):
        """Read."""
        with self._file() as file:
            file.seek(block * _BLOCK + offset)
            file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=0):
        """Erase and write."""
        if block * _BLOCK + offset + len(buffer) > _SIZE:
            raise OSError(22)
        with self._file() as file:
            file.seek(block * _BLOCK + offset)
            file.write(buffer)

    def set_boot(self):
        """Start this one next, on trial."""
        _data["boot"] = self._label
        _data["state"] = "new" if self._label != _data["running"] else "valid"
        _keep()

    @staticmethod
    def mark_app_valid_cancel_rollback():
        """The running image works."""
        if _data["state"] == "pending":
            _data["state"] = "valid"
            _keep()


_boot()
