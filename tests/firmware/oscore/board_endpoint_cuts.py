"""Runs on the MicroPython VM: a node's endpoint sends and answers protected messages through power cuts.

Arguments: seed, number of power cuts. Every datagram that leaves is noted by its key and nonce; prints as JSON how many nonces
encrypted two different messages. A repeat of the same bytes is one message.
"""

import asyncio
import gc
import json
import os
import random
import sys

import vfs  # type: ignore[import-not-found] # MicroPython's
from andon_node.coap import endpoint as endpoints  # type: ignore[import-not-found] # on the board
from andon_node.coap import message as coap
from andon_node.coap.response import CoapError, Response  # type: ignore[import-not-found] # on the board
from andon_node.coap.secure import Secure  # type: ignore[import-not-found] # on the board
from andon_node.oscore import keys, option  # type: ignore[import-not-found] # on the board
from andon_node.oscore import message as oscore
from andon_node.oscore.context import SecurityContext  # type: ignore[import-not-found] # on the board
from andon_node.oscore.errors import OscoreError  # type: ignore[import-not-found] # on the board
from board_power_cuts import BLOCK, BLOCKS  # type: ignore[import-not-found] # beside this file
from cut_flash import CutFlash  # type: ignore[import-not-found] # in tests/firmware

endpoints.ACK_TIMEOUT_MS = 2  # repeats come soon
KEYS = {"secret": "0f" * 16, "salt": None, "sender_id": "01", "recipient_id": "00"}
GATEWAY = "gateway"


class GatewayNumbers:
    """Mock of the gateway's own numbers: it never restarts here."""

    def __init__(self) -> None:
        self.next = 0

    def load(self) -> int:
        return 0

    def reserve(self, upto: int) -> None:
        """Nothing to store."""


class Air:
    """The node's datagrams: notes every one that leaves, and loses most of them."""

    def __init__(self, seen: "dict[bytes, int]", report: "dict[str, int]") -> None:
        self._seen = seen
        self._report = report
        self.inbox: list[bytes] = []
        self.asked = b""
        self._arrived = asyncio.Event()

    async def receive(self) -> "tuple[bytes, str]":
        while not self.inbox:
            self._arrived.clear()
            await self._arrived.wait()
        return self.inbox.pop(0), GATEWAY

    def put(self, data: bytes) -> None:
        self.inbox.append(data)
        self._arrived.set()

    def send(self, data: bytes, _address: str) -> None:
        message = coap.decode(bytes(data))
        value = message.option(coap.OSCORE)
        if value is None:
            return
        piv, _, _ = option.decode(value)
        # A response without a Partial IV has the nonce of its request, which it answers by the token.
        nonce = b"own" + piv if piv else b"request" + bytes(message.token)
        text = hash(bytes(message.payload))
        self._report["sent"] += 1
        if self._seen.setdefault(nonce, text) != text:
            self._report["reused"] += 1


async def handle(_request: object) -> object:
    return Response(coap.CONTENT, str(random.getrandbits(30)))


async def live(flash: CutFlash, gateway: SecurityContext, seen: "dict[bytes, int]", report: "dict[str, int]") -> None:
    """One start of the node: send, be asked and be asked again until the power fails or the test tires."""
    context = keys.load("/cut/keys.json")
    if context is None:
        raise SystemExit("the keys are gone")
    air = Air(seen, report)
    node = endpoints.Endpoint(air, handle, Secure(context))
    serving = asyncio.create_task(node.serve())
    try:
        for _ in range(random.randrange(1, 5)):
            if random.randrange(2):
                await ask_gateway(node, report)
            else:
                await ask_node(air, gateway, report)
            if flash.dead:
                return
    finally:
        serving.cancel()


async def ask_gateway(node: object, report: "dict[str, int]") -> None:
    """A request whose content changes with every repeat, as a pack's age does."""
    changing = random.randrange(2)

    def refresh() -> bytes:
        return str(random.getrandbits(30)).encode() if changing else b"the same"

    try:
        await node.request(GATEWAY, coap.POST, [(coap.URI_PATH, b"t")], b"", refresh, 1)  # type: ignore[attr-defined]
    except CoapError:
        report["unanswered"] += 1


async def ask_node(air: Air, gateway: SecurityContext, report: "dict[str, int]") -> None:
    """A request of the gateway, delivered twice as one message and once more as a replay."""
    report["asked"] += 1
    mid = random.getrandbits(16)
    code, options, payload, _ = oscore.protect_request(gateway, coap.GET, [(coap.URI_PATH, b"x")], b"")
    token = report["asked"].to_bytes(4, "big")
    for number in (mid, mid, mid ^ 1):
        air.put(bytes(coap.encode(coap.Message(coap.CON, code, number, token, options, payload))))
        for _ in range(12):
            await asyncio.sleep_ms(0)  # type: ignore[attr-defined] # MicroPython's


def main(seed: int, cuts: int) -> None:
    random.seed(seed)
    report = {"cuts": 0, "stops": 0, "sent": 0, "reused": 0, "unanswered": 0, "asked": 0}
    seen: dict[bytes, int] = {}
    flash = CutFlash(bytearray(b"\xff" * (BLOCK * BLOCKS)), BLOCK)
    vfs.VfsLfs2.mkfs(flash, progsize=16, readsize=16, lookahead=16)
    vfs.mount(vfs.VfsLfs2(flash, progsize=16, readsize=16, lookahead=16), "/cut")
    with open("/cut/keys.json", "w") as file:  # noqa: PTH123 - no pathlib on the VM
        json.dump(KEYS, file)
    vfs.umount("/cut")
    secret = bytes.fromhex(KEYS["secret"] or "")
    gateway = SecurityContext(secret, b"\x00", b"\x01", keys.SenderSequence(GatewayNumbers()), fresh=True)
    while report["cuts"] < cuts:
        gc.collect()
        flash = CutFlash(flash.cells, BLOCK)
        flash.budget = random.choice((1 << 30, random.randrange(200), random.randrange(1200)))
        try:
            vfs.mount(vfs.VfsLfs2(flash, progsize=16, readsize=16, lookahead=16), "/cut")
            os.chdir("/cut")
            asyncio.run(live(flash, gateway, seen, report))
        except (OscoreError, OSError, keys.KeysError):
            if not flash.dead:
                raise
        asyncio.new_event_loop()
        report["cuts" if flash.dead else "stops"] += 1
        os.chdir("/")
        try:  # noqa: SIM105 - no contextlib on the VM
            vfs.umount("/cut")
        except OSError:  # a dead flash cannot be unmounted cleanly
            pass
    sys.stdout.write(json.dumps(report))


main(int(sys.argv[1]), int(sys.argv[2]))
