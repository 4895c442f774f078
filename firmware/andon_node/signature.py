"""Checks the site's Ed25519 signatures; what it takes for that is loaded meanwhile only."""

import asyncio

from andon_node.passing import forget


async def is_good(public_key, signature, pieces):
    """Whether a signature is this key's over all pieces. Takes seconds on a board; everything else goes on meanwhile."""
    from andon_node.ed25519 import verify_digest
    from andon_node.sha512 import Sha512

    try:
        digest = Sha512(signature[:32] + public_key)
        for piece in pieces:
            digest.update(piece)
            await asyncio.sleep_ms(0)
        steps = verify_digest(public_key, digest.digest(), signature)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value
            await asyncio.sleep_ms(0)
    finally:
        forget("andon_node.ed25519", "andon_node.sha512")
