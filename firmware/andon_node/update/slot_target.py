"""A slot on the file system as the place of an application bundle."""

import errno
import hashlib
import os

from micropython import const

from andon_base import slots
from andon_node.update.manifest import PREFIX, UpdateError, hash_file

# Names the bundle whose files are in the slot, until all are there.
_LOADING = const("/loading")
# The package that a slot holds; nothing else on the flash can be reached by a bundle.
_PACKAGE = const("andon_node/")
_SPARE_BLOCKS = const(8)
# What littlefs says when the flash is full; not every board has a name for it.
_ENOSPC = const(28)


class SlotTarget:
    """Writes the files of a bundle one after another into the spare slot; begins where a power cut stopped it."""

    def __init__(self, slot):
        self._slot = slot
        self._file = None

    async def begin(self, manifest):
        """Prepare the slot; return how many bytes of the files are there already and good.

        Raises:
            UpdateError: The bundle names a file outside its package, or it is too large.
        """
        self._manifest = manifest
        for name, _, _ in manifest.files():
            if not name.startswith(_PACKAGE) or not name.endswith(".mpy"):
                raise UpdateError("manifest: %s: expected .mpy files of andon_node" % name)
        if self._identity() != manifest.identity:
            slots.clear(self._slot)
            self._refuse_if_too_large()
            with open(self._slot + _LOADING, "w") as file:
                file.write(manifest.identity)
        self._left = manifest.files()
        done = 0
        while self._open_next():
            have = await hash_file(self._hash, self._path, self._size)
            done += have
            if have < self._size or self._hash.digest() != self._digest:
                break
        if not self._path:
            return done
        if have == self._size:
            # Complete, but wrong: flipped on the flash. Again from its start.
            done -= have
            have = 0
        self._reopen(have)
        return done

    def _identity(self):
        try:
            with open(self._slot + _LOADING) as file:
                return file.read()
        except OSError:
            return None

    def _refuse_if_too_large(self):
        block, _, _, free, _ = os.statvfs(".")[:5]
        needed = _SPARE_BLOCKS + sum((size + block - 1) // block for _, size, _ in self._manifest.files())
        if needed > free:
            raise UpdateError("flash: %d blocks of %d bytes needed, %d are free" % (needed, block, free))

    def _open_next(self):
        self._path = ""
        found = next(self._left, None)
        if found is None:
            return False
        self._path = self._slot + "/" + found[0]
        self._size, self._digest = found[1:]
        self._hash = hashlib.sha256()
        return True

    def _reopen(self, have):
        self._have = have
        if have:
            self._file = open(self._path, "ab")
            return
        folder = self._path
        while "/" in folder:
            folder = folder.rsplit("/", 1)[0]
            _make_folder(folder, self._slot)
        self._hash = hashlib.sha256()
        self._file = open(self._path, "wb")

    def write(self, data):
        """Take the next bytes; they are on the flash when this returns.

        Raises:
            UpdateError: A file is not what the manifest says, or the flash is full.
        """
        try:
            while len(data):
                data = self._write_piece(data)
            if self._file is not None:
                self._file.flush()
        except OSError as error:
            self.close()
            if error.errno == _ENOSPC:
                raise UpdateError("flash: full")  # noqa: B904 - MicroPython keeps no cause
            raise

    def _write_piece(self, data):
        if self._file is None:
            raise UpdateError("longer than its manifest says")
        piece = data[: self._size - self._have]
        self._file.write(piece)
        self._hash.update(piece)
        self._have += len(piece)
        if self._have == self._size:
            self.close()
            if self._hash.digest() != self._digest:
                os.remove(self._path)
                raise UpdateError("%s: SHA-256 differs from the manifest" % self._path)
            if self._open_next():
                self._reopen(0)
        return data[len(piece) :]

    def close(self):
        """Let go of the file; what was written stays for the next try."""
        if self._file is not None:
            self._file.close()
            self._file = None

    async def finish(self):
        """Read everything back from the flash and check it; only then the slot counts as complete.

        Raises:
            UpdateError: Something is missing or wrong.
        """
        for name, size, digest in self._manifest.files():
            found = hashlib.sha256()
            if await hash_file(found, self._slot + "/" + name, size) != size or found.digest() != digest:
                raise UpdateError("%s: not on the flash as it was sent" % name)
        fresh = self._slot + slots.MANIFEST
        with open(self._manifest.path, "rb") as head, open(fresh + ".new", "wb") as copy:
            head.seek(PREFIX)
            while True:
                piece = head.read(512)
                if not piece:
                    break
                copy.write(piece)
        os.rename(fresh + ".new", fresh)

    def activate(self):
        """Run it on trial from the next start on."""
        slots.activate(self._slot)

    def confirm(self):
        """It works: keep it."""
        slots.confirm()

    def abandon(self):
        """Throw away what was written."""
        self.close()
        slots.clear(self._slot)


def _make_folder(folder, slot):
    path = slot
    for part in folder[len(slot) + 1 :].split("/"):
        if part:
            path += "/" + part
            try:
                os.mkdir(path)
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise
