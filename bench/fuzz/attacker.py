"""The attacker, a process of its own: hostile datagrams at a steady rate, then fuzzed packs, each of which has to be answered.

Run: python -m bench.fuzz.attacker PLAN.json, with the fields of `AttackPlan`. Prints `ready`, and at the end one JSON line.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.fuzz.datagrams import Attacker, option_bytes
from bench.fuzz.senml_packs import PackFuzzer
from bench.gateway.load import CoapLane, Generator, Lane, LoadError, even_schedule, percentile
from bench.gateway.packs import coap_request

SOCKETS: Final = 32
NEW_SOCKET_EVERY: Final = 500
"""Datagrams until one of the sockets is replaced: senders come and go, and none may be remembered for good."""
TICK_S: Final = 0.0005
DRAIN_S: Final = 0.02
LANES: Final = 64
CHUNK_S: Final = 5.0
_PATH_T: Final = (11, b"t")
_FORMAT: Final = 12


@dataclass(frozen=True, slots=True)
class AttackPlan:
    """What to do.

    Attributes:
        port: The gateway's.
        seed: Of all chance.
        datagrams: Hostile datagrams.
        packs: Fuzzed packs.
        per_s: Rate of both.
        mole_keys: Keys of a node, in the attacker's hands.
    """

    port: int
    seed: int
    datagrams: int
    packs: int
    per_s: float
    mole_keys: dict[str, str]


def _name(code: int) -> str:
    return f"{code >> 5}.{code & 31:02d}"


def _socket(port: int) -> socket.socket:
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.connect(("127.0.0.1", port))
    link.setblocking(False)  # the standard library's signature
    return link


def _drain(link: socket.socket, answers: Counter[str]) -> None:
    with suppress(BlockingIOError, ConnectionRefusedError):
        while True:
            data = link.recv(2048)
            answers[_name(data[1]) if len(data) >= 4 else "malformed"] += 1  # noqa: PLR2004  # a CoAP header


def send_datagrams(plan: AttackPlan) -> Counter[str]:
    """Send them all; gives the codes of the answers, 0.00 for acknowledgements and resets."""
    source = Attacker(random.Random(plan.seed), plan.mole_keys, time.time_ns() // 1_000_000)  # noqa: S311  # seeded, to be repeatable
    links = [_socket(plan.port) for _ in range(SOCKETS)]
    answers: Counter[str] = Counter()
    begin = drained = time.perf_counter()
    for number in range(plan.datagrams):
        while number / plan.per_s > time.perf_counter() - begin:
            time.sleep(TICK_S)
        if time.perf_counter() - drained > DRAIN_S:
            drained = time.perf_counter()
            for link in links:
                _drain(link, answers)
        at = number % SOCKETS
        if number % NEW_SOCKET_EVERY == 0:
            _drain(links[at], answers)
            links[at].close()
            links[at] = _socket(plan.port)
        with suppress(BlockingIOError, ConnectionRefusedError):
            links[at].send(source.next())
    time.sleep(1.0)
    for link in links:
        _drain(link, answers)
        link.close()
    return answers


def open_lanes(port: int) -> list[Lane]:
    """Sockets for the packs; opened before the datagrams, whose ports, with the message ids of each, the gateway remembers for 247 s."""
    return [CoapLane(_socket(port)) for _ in range(LANES)]


def send_packs(plan: AttackPlan, lanes: list[Lane]) -> tuple[Counter[str], list[float]]:
    """Send them all as confirmable requests; gives the codes of the answers, and how long each took in seconds.

    Raises:
        LoadError: One was never answered.
    """
    source = PackFuzzer(random.Random(plan.seed))  # noqa: S311  # seeded, to be repeatable
    answers: Counter[str] = Counter()
    latencies: list[float] = []
    left, numbers = (
        plan.packs,
        [0] * LANES,
    )  # each lane has message ids of its own, none twice within minutes (RFC 7252 4.4)
    with closing(Generator(lanes)) as generator:
        while left:
            count = min(left, int(plan.per_s * CHUNK_S))
            left -= count
            for position in range(count):
                content_format, payload = source.next()
                size = (content_format.bit_length() + 7) // 8
                options = option_bytes([_PATH_T, (_FORMAT, content_format.to_bytes(size, "big"))])
                at = position % LANES
                lanes[at].frames.append(coap_request(numbers[at], options, payload))
                numbers[at] += 1
            tally = generator.pace(even_schedule(lanes, plan.per_s, count / plan.per_s + 1)[:count])
            answers.update({_name(code): seen for code, seen in tally.others.items()} | {"2.04": tally.answered})
            latencies += tally.latencies_s
    for lane in lanes:
        lane.link.close()
    return answers, latencies


def main() -> None:
    """Attack as planned and report."""
    plan = AttackPlan(**json.loads(Path(sys.argv[1]).read_text()))
    lanes = open_lanes(plan.port)
    print("ready", flush=True)
    datagrams = send_datagrams(plan)
    print(json.dumps({"datagram_answers": dict(sorted(datagrams.items()))}), flush=True)
    try:
        packs, latencies = send_packs(plan, lanes)
    except LoadError as error:
        print(json.dumps({"hung": str(error)}), flush=True)
        return
    worst_ms = max(latencies, default=0.0) * 1000
    p99_ms = percentile(latencies, 0.99) * 1000 if latencies else 0.0
    report = {"pack_answers": dict(sorted(packs.items())), "pack_p99_ms": p99_ms, "pack_worst_ms": worst_ms}
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
