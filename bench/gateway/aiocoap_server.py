"""The peer: a plain aiocoap resource that decodes each pack and answers 2.04; it keeps nothing.

Run: python -m bench.gateway.aiocoap_server [KEYS.json]. With keys, packs may come protected with OSCORE. Prints `ready port=...`, and the
number of packs on SIGUSR2.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import cbor2
from aiocoap import oscore, resource
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper  # type: ignore[import-untyped]  # same

WINDOW = 32


class Telemetry(resource.Resource):  # type: ignore[misc]  # untyped base
    """POST /t."""

    def __init__(self) -> None:
        super().__init__()
        self.packs = 0

    async def render_post(self, request: Any) -> aiocoap.Message:
        """Decode and count."""
        if len(cbor2.loads(request.payload)):
            self.packs += 1
        return aiocoap.Message(code=aiocoap.CHANGED)


class MemoryContext(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):  # type: ignore[misc]  # untyped base
    """aiocoap's algorithms with the server's half of a node's keys, in memory: no file is written, in aiocoap's favour."""

    authenticated_claims: tuple[str, ...] = ()
    echo_recovery = None

    def __init__(self, keys: dict[str, str]) -> None:
        self.alg_aead = oscore.algorithms["AES-CCM-16-64-128"]
        self.hashfun = oscore.hashfunctions["sha256"]
        self.sender_id, self.recipient_id = bytes.fromhex(keys["recipient_id"]), bytes.fromhex(keys["sender_id"])
        self.id_context = None
        self.derive_keys(bytes.fromhex(keys["salt"]), bytes.fromhex(keys["secret"]))
        self.sender_sequence_number = 0
        self.recipient_replay_window = oscore.ReplayWindow(WINDOW, lambda: None)
        self.recipient_replay_window.initialize_empty()

    def post_seqnoincrease(self) -> None:
        """Nothing is stored."""


class Contexts:
    """By kid: aiocoap's own table is searched from its beginning for each message, which would not be fair."""

    def __init__(self, keys: dict[str, dict[str, str]]) -> None:
        self._by_kid = {bytes.fromhex(own["sender_id"]): MemoryContext(own) for own in keys.values()}

    def find_oscore(self, unprotected: dict[Any, bytes]) -> MemoryContext:
        """The context of a request; KeyError when there is none."""
        return self._by_kid[unprotected[oscore.COSE_KID]]


async def serve(contexts: Contexts | None) -> None:
    """Serve until killed."""
    telemetry, site = Telemetry(), resource.Site()
    site.add_resource(["t"], telemetry)
    if contexts is not None:
        site = OscoreSiteWrapper(site, contexts)
    context = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", 0), transports=["udp6"])
    transport = context.request_interfaces[0].token_interface.message_interface.transport
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, lambda: print(f"count {telemetry.packs}", flush=True))
    print(f"ready port={transport.get_extra_info('socket').getsockname()[1]}", flush=True)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(serve(Contexts(json.loads(Path(sys.argv[1]).read_text())) if sys.argv[1:] else None))
