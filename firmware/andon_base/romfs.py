"""A folder of compiled files as a ROMFS image, piece by piece (MicroPython, "ROMFS", file system format)."""

import os

from micropython import const

_MAGIC = const(b"\xd2\xcd\x31")
_VERBATIM = const(2)
_DIRECTORY = const(4)
_FILE = const(5)
_IS_FOLDER = const(0x4000)
_PIECE = const(512)


class Tree:
    """What goes into an image: some entries of a folder, or all of them.

    Args:
        folder: Where the entries are; "" is the working directory.
        names: The entries.
    """

    def __init__(self, folder, names):
        self._folder = folder
        self._names = names

    def files(self):
        """Yield the paths of all files in the order of the image."""
        for name in self._names:
            yield from _files(_join(self._folder, name))

    def size(self):
        """Bytes of the image."""
        size = self._payload()
        return len(_MAGIC) + len(_uint(size)) + size

    def pieces(self):
        """Yield the image; a piece is valid until the next one is asked for."""
        yield _MAGIC + _uint(self._payload())
        buffer = bytearray(_PIECE)
        for name in self._names:
            yield from _record(self._folder, name, buffer)

    def _payload(self):
        return sum(_size(self._folder, name) for name in self._names)


def _join(folder, name):
    return folder + "/" + name if folder else name


def _uint(value):
    """Seven bits a byte, the highest first; all but the last byte have bit 7 set."""
    coded = bytes((value & 0x7F,))
    while value > 0x7F:
        value >>= 7
        coded = bytes((0x80 | value & 0x7F,)) + coded
    return coded


def _entries(path):
    """Names in a folder, None for a file."""
    if not os.stat(path)[0] & _IS_FOLDER:
        return None
    return sorted([entry[0] for entry in os.ilistdir(path)])


def _files(path):
    names = _entries(path)
    if names is None:
        yield path
        return
    for name in names:
        yield from _files(_join(path, name))


def _content(path, names):
    """Bytes of what follows the name in the record of a file or folder."""
    if names is not None:
        return sum(_size(path, name) for name in names)
    size = os.stat(path)[6]
    return 1 + len(_uint(size)) + size


def _size(folder, name):
    """Bytes of the record of a file or folder."""
    path = _join(folder, name)
    inner = len(_uint(len(name))) + len(name) + _content(path, _entries(path))
    return 1 + len(_uint(inner)) + inner


def _record(folder, name, buffer):
    path = _join(folder, name)
    names = _entries(path)
    named = _uint(len(name)) + name.encode()
    kind = _FILE if names is None else _DIRECTORY
    yield bytes((kind,)) + _uint(len(named) + _content(path, names)) + named
    if names is not None:
        for inner in names:
            yield from _record(path, inner, buffer)
        return
    yield bytes((_VERBATIM,)) + _uint(os.stat(path)[6])
    view = memoryview(buffer)
    with open(path, "rb") as file:
        while True:
            size = file.readinto(buffer)
            if not size:
                return
            yield view[:size]
