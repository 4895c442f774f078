"""Fetches the bundle of a job from the gateway, block by block [RFC 7959], into an intake."""

import asyncio

from micropython import const

import andon_node
from andon_base.slots import parse_version
from andon_node.coap import message as coap
from andon_node.update.intake import Intake
from andon_node.update.manifest import UpdateError

_ETAG = const(4)
_BLOCK2 = const(23)
# Block size exponent 5: 512 bytes [RFC 7959 2.2]. Each is in memory several times over: as received, decrypted, and as content.
_SZX = const(5)
_BLOCK = const(512)
_INCOMPLETE = const(0x88)
_PAUSE_MS = const(5000)


class _ChangedError(Exception):
    """The file at the gateway is another one now."""


async def carry_out(updates, job):
    """Bring a bundle into its place and let it start on trial next time; return False when the job is cancelled.

    Raises:
        UpdateError: It must not or cannot run here.
        OSError: The flash fails.
    """
    key = updates.site_key()
    if key is None:
        raise UpdateError("no site key")
    while updates.wanted(job):
        intake = Intake(key, parse_version(andon_node.VERSION), parse_version(job["version"]))
        updates.begin(intake)
        try:
            await _fetch(updates, job, intake)
        except _ChangedError:
            print("update: another file at the gateway, again from its start")
            intake.abandon()
            updates.remember_etag(job, "")
            continue
        finally:
            intake.close()
        if updates.wanted(job):
            await intake.finish()
            return True
    return False


async def _fetch(updates, job, intake):
    # Block 0 comes first even when later ones are wanted: it tells the ETag, and a server may keep later blocks only for
    # those who have asked for the first.
    data, more, etag = await _block(updates, job, 0)
    if job["etag"] != etag:
        if job["etag"]:
            raise _ChangedError
        intake.abandon()
        updates.remember_etag(job, etag)
    await intake.resume()
    number = 0
    while updates.wanted(job) and (intake.total is None or intake.offset < intake.total):
        wanted = intake.offset // _BLOCK
        if wanted != number:
            if not more:
                raise UpdateError("cut off after %d bytes" % intake.offset)
            data, more, etag = await _block(updates, job, wanted)
            if etag != job["etag"]:
                raise _ChangedError
            number = wanted
        begin = intake.offset - number * _BLOCK
        if begin >= len(data) or (len(data) < _BLOCK and more):
            raise UpdateError("cut off after %d bytes" % intake.offset)
        await intake.take(memoryview(data)[begin:])
        await asyncio.sleep_ms(0)


async def _block(updates, job, number):
    """Ask for a block until it comes; return (data, whether more follow, ETag in hexadecimal)."""
    options = [
        (coap.URI_PATH, b"fw"),
        (coap.URI_PATH, job["name"].encode()),
        (_BLOCK2, coap.uint(number << 4 | _SZX)),
    ]
    while True:
        response = await updates.request(coap.GET, options)
        block2 = response.option(_BLOCK2)
        if response.code == coap.CONTENT:
            value = 0 if block2 is None else int.from_bytes(block2, "big")
            if value >> 4 == number and (block2 is None or value & 7 == _SZX):
                return response.payload, value >> 3 & 1, (response.option(_ETAG) or b"").hex()
            raise UpdateError("gateway: answered block %d for block %d" % (value >> 4, number))
        if response.code == _INCOMPLETE and number:
            # The server has forgotten that we began.
            await _block(updates, job, 0)
        elif response.code >> 5 == 5:
            await asyncio.sleep_ms(_PAUSE_MS)
        else:
            raise UpdateError("gateway: %s %s" % (coap.code_text(response.code), bytes(response.payload).decode()))
