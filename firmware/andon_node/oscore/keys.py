"""The node's keys on its flash: `keys.json`, written when the node is provisioned, and the sequence numbers beside it.

    {"secret": "<32 digits>", "salt": "<digits>", "sender_id": "01", "recipient_id": "00"}

All hexadecimal, `salt` may be null. The keys are never printed.
"""

import json
import os
from binascii import crc32

from micropython import const

from .context import SecurityContext
from .errors import SequenceLostError
from .sequence import FileSequenceStore, SenderSequence

PATH = "keys.json"
_SEQUENCE = const("oscore")
# Tells which keys the sequence numbers were started for: their checksum, which says nothing about 128 random bits.
_USED = const("oscore.used")
_MIN_SECRET_BYTES = const(16)


class KeysError(Exception):
    """The keys cannot be used; the message never holds any of them."""


def load(path=PATH):
    """Return the security context with the gateway, None for a node without keys.

    Raises:
        KeysError: There are keys, but they cannot be used safely.
    """
    try:
        with open(path) as file:
            document = json.load(file)
    except ValueError:
        raise KeysError(path + ": expected JSON; provision the node again")  # noqa: B904 - MicroPython keeps no cause
    except OSError:
        return None
    secret, salt, sender, recipient = [
        _bytes(path, document, key) for key in ("secret", "salt", "sender_id", "recipient_id")
    ]
    if len(secret) < _MIN_SECRET_BYTES:
        raise KeysError("%s: secret: expected at least %d bytes" % (path, _MIN_SECRET_BYTES))
    mark = "%08x" % crc32(secret + b"/" + salt + b"/" + sender + b"/" + recipient)
    try:
        sequence = SenderSequence(_store(mark))
        return SecurityContext(secret, sender, recipient, sequence, salt)
    except SequenceLostError as error:
        raise KeysError(str(error))  # noqa: B904
    except ValueError as error:
        raise KeysError("%s: %s" % (path, error))  # noqa: B904


def _bytes(path, document, key):
    value = document.get(key) if isinstance(document, dict) else None
    if value is None and key == "salt":
        return b""
    if not isinstance(value, str):
        value = "none"
    try:
        return bytes(int(value[at : at + 2], 16) for at in range(0, len(value), 2))
    except ValueError:
        raise KeysError("%s: %s: expected hexadecimal digits; provision the node again" % (path, key))  # noqa: B904


def _store(mark):
    """The sequence numbers of these keys: started once, when keys are seen for the first time."""
    from andon_node.flash import write_atomically

    store = FileSequenceStore(_SEQUENCE)
    if _read(_USED) != mark:
        # New keys may go on above the old ones' numbers; only without any they begin at 0. A cut on the way leaves the
        # mark as it was, and what is done here can be done again.
        try:
            store.load()
        except SequenceLostError:
            for suffix in (".0", ".1"):
                _remove(_SEQUENCE + suffix)
            store.create()
        write_atomically(_USED, mark)
    return store


def _read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _remove(path):
    try:
        os.remove(path)
    except OSError:
        pass
