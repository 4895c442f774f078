"""Whether a new configuration may take the place of the running one: its revision, and what of it must be signed."""

from micropython import const

_KEY = const("site_key.hex")
# Signatures of other things by the same key are worth nothing here.
_SIGNED = const(b"andon config\n")
# What anyone who may write the configuration may change, whatever the node's outputs do.
_FREE = ("revision", "wifi", "gateway", "coap_port", "pack_ms", "journal_bytes", "trial_s")
# What decides about the outputs by itself. With interlocks, everything that is not free does: they depend on readings.
_OUTPUTS = ("relays", "interlocks", "hold_s", "lease_max_s", "board")


def checked_revision(running, document):
    """Return the revision of a document that may take the place of the running one.

    Raises:
        ValueError: It may not; says why.
    """
    from andon_node import config

    try:
        settings = config.Config(document)
    except config.ConfigError as error:
        raise ValueError(str(error))  # noqa: B904 - MicroPython keeps no cause
    if settings.node != running["node"]:
        raise ValueError("node: expected %s; another name needs other keys" % running["node"])
    if settings.revision <= running.get("revision", 0):
        raise ValueError("revision: expected more than %d" % running.get("revision", 0))
    return settings.revision


def protected(running, document):
    """Return the first key of which a change endangers the outputs, or None."""
    if not running.get("relays") and not document.get("relays"):
        return None
    interlocked = running.get("interlocks") or document.get("interlocks")
    for key in sorted(set(running) | set(document)):
        guarded = key in _OUTPUTS or (interlocked and key not in _FREE)
        if guarded and running.get(key) != document.get(key):
            return key
    return None


async def check_signature(touched, body, signature):
    """Return what is wrong with a signature, or None."""
    if signature is None:
        return "%s: a change needs the site's signature (PUT /config?sig=...)" % touched
    try:
        with open(_KEY) as file:
            key = bytes.fromhex(file.read().strip())
        signature = bytes.fromhex(signature)
    except OSError:
        return "%s: a change needs a signature, and this node has no %s to check it" % (touched, _KEY)
    except ValueError:
        return "sig: expected 128 hexadecimal digits"
    from andon_node.signature import is_good

    if await is_good(key, signature, (_SIGNED, bytes(body))):
        return None
    return "sig: not the site's signature of this document"
