"""A node's week in minutes: what `firmware_week.py` puts onto the emulated board in place of its main.py. Runs on the MicroPython VM.

The board is as it is (boot.py, flash, in place, OSCORE, all tasks). Changed are its clock, which jumps to the next time that anybody waits
for, and its network, which ends in a stand-in of the gateway in the same process. So neither the host's other work nor the
speed of real processes is in what is measured. Prints one line for every measurement and ends after the hours given.
"""

import asyncio
import gc
import json
import random
import sys
import time

import onewire  # type: ignore[import-not-found] # the emulated board's
import utime  # type: ignore[import-not-found] # MicroPython's, below the emulated board's
from andon_node import node as nodes  # type: ignore[import-not-found] # on the board
from andon_node.coap import message as coap
from andon_node.oscore import keys
from andon_node.oscore import message as oscore
from andon_node.oscore.context import SecurityContext
from andon_node.oscore.errors import OscoreError

PLAN = json.load(open("week.json"))  # noqa: PTH123, SIM115 - no pathlib on the VM
# Waits are this long at least: the relays are looked at 50 times a second otherwise.
TICK_MS = 250
EPOCH_MS = 1_790_000_000_000
PEER = "gateway"
# When this start of the board begins and ends in the whole run.
BEGIN_MS, END_MS = PLAN["begin_ms"], PLAN["end_ms"]
MEASURE_MS = 60_000
REPEAT_MS, REPEATS = 3000, 8


class VirtualClock:
    """Ticks that pass only while everybody waits. Never behind the real ones, which MicroPython's task queue reads."""

    def __init__(self) -> None:
        self.now = utime.ticks_ms()
        self.passed = 0

    def ticks_ms(self) -> int:
        """As MicroPython's: with words of 32 bits they begin anew after 2**30."""
        behind = utime.ticks_diff(utime.ticks_ms(), self.now)
        if behind > 0:
            self.jump(behind)
        return self.now

    def ticks_us(self) -> int:
        """As MicroPython's."""
        return self.ticks_ms() * 1000 & utime.ticks_add(0, -1)

    def jump(self, ms: int) -> None:
        """Let time pass."""
        self.now = utime.ticks_add(self.now, ms)
        self.passed += ms

    def wait(self, ms: int) -> None:
        """Every task waits for `ms` at least."""
        if ms > 0:
            self.ticks_ms()
            self.jump(max(ms, TICK_MS))

    def passed_ms(self) -> int:
        """Milliseconds since the run began, of which this start is a part."""
        self.ticks_ms()
        return BEGIN_MS + self.passed


class GatewayNumbers:
    """Sender sequence numbers of a gateway that never restarts."""

    def load(self) -> int:
        """The first one."""
        return 0

    def reserve(self, upto: int) -> None:
        """Nothing to store."""


class StandIn:
    """The network and, at its end, what of a gateway the node can see: answers, commands, outages, loss."""

    def __init__(self) -> None:
        document = json.load(open("keys.json"))  # noqa: PTH123, SIM115 - as above
        secret = bytes.fromhex(document["secret"])
        self.context = SecurityContext(secret, b"\x00", b"\x01", keys.SenderSequence(GatewayNumbers()), fresh=True)
        self.inbox: list[bytes] = []
        self.arrived = asyncio.Event()
        self.packs = self.temperatures = self.commands = self.executed = 0
        self.mid = 0
        self.command = self.ordered = b""
        self.heard = False
        self.asked = None
        # The newest request's id and its answer: a repeat is answered in the same way.
        self.answered: tuple[int, bytes] = (-1, b"")

    # --- the node's link ---

    datagrams = property(lambda self: self)

    async def run(self) -> None:
        """Nothing to keep up."""
        await asyncio.Event().wait()

    async def wait_connected(self) -> None:
        """Always."""

    def connected(self) -> bool:
        """Always."""
        return True

    def rssi(self) -> int:
        """In dBm."""
        return -60

    def gateway_address(self) -> str:
        """The only peer there is."""
        return PEER

    async def receive(self) -> "tuple[bytes, str]":
        """The next datagram for the node."""
        while not self.inbox:
            self.arrived.clear()
            await self.arrived.wait()
        return self.inbox.pop(0), PEER

    def send(self, data: bytes, _address: str) -> None:
        """A datagram of the node."""
        if not self.silent() and random.random() >= PLAN["loss"]:
            self.take(coap.decode(bytes(data)))

    # --- the gateway ---

    def silent(self) -> bool:
        """Whether there is an outage now."""
        return clock.passed_ms() % PLAN["outage_every_ms"] > PLAN["outage_every_ms"] - PLAN["outage_ms"]

    def put(self, data: bytes) -> None:
        """Send a datagram to the node; some get lost."""
        if random.random() >= PLAN["loss"]:
            self.inbox.append(data)
            self.arrived.set()

    def take(self, message: object) -> None:
        """A message of the node has come."""
        try:
            if message.is_request():  # type: ignore[attr-defined]
                self.answer(message)
            elif message.is_response():  # type: ignore[attr-defined]
                self.hear(message)
        except OscoreError:
            # What came late or twice is ignored, as the real gateway does it.
            pass

    def answer(self, message: object) -> None:
        """Answer a request."""
        if message.mid == self.answered[0]:  # type: ignore[attr-defined]
            self.put(self.answered[1])
            return
        code, options, payload, binding = oscore.unprotect_request(self.context, message.options, message.payload)  # type: ignore[attr-defined]
        path = [value for number, value in options if number == coap.URI_PATH]
        reply, extra, body = coap.CHANGED, [], b""
        if path == [b"time"]:
            reply, body = coap.CONTENT, str(EPOCH_MS + clock.passed_ms()).encode()
        elif path == [b"rd"]:
            reply, extra = coap.CREATED, [(coap.LOCATION_PATH, b"rd"), (coap.LOCATION_PATH, b"press-1")]
        elif path == [b"t"]:
            self.packs += 1
            self.temperatures += payload.count(b"temperature/")
        code, options, payload = oscore.protect_response(self.context, binding, reply, extra, body)
        data = coap.encode(coap.Message(coap.ACK, code, message.mid, message.token, options, payload))  # type: ignore[attr-defined]
        self.answered = message.mid, bytes(data)  # type: ignore[attr-defined]
        self.put(self.answered[1])

    def order(self, echo: "bytes | None" = None) -> None:
        """Send the command, as a new message."""
        self.mid = (self.mid + 1) & 0xFFFF
        options = [(coap.URI_PATH, b"relay"), (coap.URI_PATH, b"0"), (coap.CONTENT_FORMAT, b"\x32")]
        if echo is not None:
            options = coap.with_option(options, coap.ECHO, echo)
        code, options, payload, self.asked = oscore.protect_request(self.context, coap.PUT, options, self.command)
        self.ordered = bytes(coap.encode(coap.Message(coap.CON, code, self.mid, b"%04x" % self.mid, options, payload)))
        # Often twice.
        for _ in range(random.randrange(1, 3)):
            self.put(self.ordered)

    def hear(self, message: object) -> None:
        """Take the answer to a command; a challenge is answered (RFC 8613 B.1.2)."""
        code, options, _ = oscore.unprotect_response(self.context, self.asked, message.options, message.payload)  # type: ignore[attr-defined]
        if code == coap.UNAUTHORIZED:
            self.order(next(value for number, value in options if number == coap.ECHO))
        if code == coap.CHANGED and not self.heard:
            self.heard = True
            self.executed += 1

    async def command_now_and_then(self) -> None:
        """Order the relay on, for ever; repeat it as a gateway does that hears nothing. In an outage there are no commands."""
        while True:
            await asyncio.sleep_ms(random.randrange(2 * PLAN["command_every_ms"]))  # type: ignore[attr-defined]
            while self.silent():
                await asyncio.sleep_ms(REPEAT_MS)  # type: ignore[attr-defined]
            self.commands += 1
            self.heard = False
            expires_ms = EPOCH_MS + clock.passed_ms() + 60_000
            body = {"id": "week-%d" % self.commands, "state": True, "lease_s": 30, "expires_ms": expires_ms}
            self.command = json.dumps(body).encode()
            self.order()
            for _ in range(REPEATS):
                await asyncio.sleep_ms(REPEAT_MS)  # type: ignore[attr-defined]
                if self.heard:
                    break
                self.put(self.ordered)


async def measure(outbox: object, gateway: StandIn) -> None:
    """Print what is live, always in the same state: no pack waits."""
    due = BEGIN_MS
    while clock.passed_ms() < END_MS:
        due += MEASURE_MS
        while clock.passed_ms() < due or outbox:
            await asyncio.sleep_ms(TICK_MS)  # type: ignore[attr-defined]
        gc.collect()
        live = gc.mem_alloc()
        print("live %d %d" % (clock.passed_ms(), live), end=" ")
        print(gateway.packs, gateway.temperatures, gateway.commands, gateway.executed)
    sys.exit(0)


def kept(name: str, part: object) -> object:
    """Note a part of the node; names that begin with an underscore are not there any more in compiled modules."""
    made[name] = part
    return part


async def run(node: object) -> None:
    """The node and what is measured of it, in place of `Node.run`."""
    gateway = made["link"]
    await asyncio.gather(gateway.command_now_and_then(), measure(made["outbox"], gateway), run_node(node))


random.seed(PLAN["seed"])
clock = VirtualClock()
print("start %d" % clock.passed_ms())
time.ticks_ms = asyncio.core.ticks = clock.ticks_ms  # type: ignore[assignment,attr-defined]
time.ticks_us = clock.ticks_us  # type: ignore[attr-defined]
# A thermometer's conversion lasts as long as the board waits for it.
onewire.utime = time
time.sleep_ms = clock.wait  # type: ignore[attr-defined]
asyncio.core._io_queue.wait_io_event = clock.wait  # type: ignore[attr-defined]
make_outbox = nodes.Outbox
made: dict = {}
nodes.open_link = lambda _settings: kept("link", StandIn())
nodes.Outbox = lambda journal: kept("outbox", make_outbox(journal))
run_node = nodes.Node.run
nodes.Node.run = run
nodes.run_node("config.json")
