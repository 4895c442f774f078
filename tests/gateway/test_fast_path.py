"""The fast path against aiocoap: two gateways that differ in nothing else get the same datagrams and have to answer alike."""

from __future__ import annotations

import itertools
import re
import socket
import time
from typing import TYPE_CHECKING, Any, ClassVar

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import pytest
from gateway.gateway_process import GatewayProcess
from gateway.oscore_peer import keys
from gateway.packs import cycles, pack, temperature
from gateway.stand_in_cloud import StandInCloud, wait_until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from andon_gateway.security.oscore import ECHO, Credential, SecurityContext, find_option

if TYPE_CHECKING:
    from collections.abc import Iterator

CON, NON, ACK, RST = range(4)
PRESS, OVEN = keys(1), keys(2, "ff" * 16)
GET_TIME = b"\x01\xb4time"
PATH_T, FORMAT = (11, b"t"), (12, b"\x70")
PATIENCE_S = 20.0
QUIET_S = 0.05
NOW_MS = time.time_ns() // 1_000_000


class _Numbers:
    """Sender sequence numbers of a node that never restarts."""

    def __init__(self, first: int = 0) -> None:
        self._next = first

    def take(self) -> int:
        self._next += 1
        return self._next - 1


def node(own: dict[str, str]) -> SecurityContext:
    """The node's half of keys as the `credentials` event has them."""
    secret, salt, sender, recipient = (
        bytes.fromhex(own[name]) for name in ("secret", "salt", "sender_id", "recipient_id")
    )
    return SecurityContext(Credential("node", secret, salt, node_id=recipient, gateway_id=sender), _Numbers())


class Exchange:
    """One gateway's side of the comparison: a socket, and what came back."""

    _ports: ClassVar[set[tuple[int, int]]] = set()

    def __init__(self, port: int) -> None:
        # A port used before would be a sender whose message ids the gateway still knows (RFC 7252 4.8.2, EXCHANGE_LIFETIME).
        while True:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.connect(("127.0.0.1", port))
            used = (port, self._socket.getsockname()[1])
            if used not in self._ports:
                break
            self._socket.close()
        self._ports.add(used)
        self.answers: list[bytes] = []

    def send(self, datagram: bytes) -> None:
        self._socket.send(datagram)

    def read(self, limit_s: float) -> bytes | None:
        """The next datagram; separate responses are acknowledged."""
        self._socket.settimeout(limit_s)
        try:
            answer = self._socket.recv(2048)
        except TimeoutError:
            return None
        if answer[0] >> 4 & 3 == CON:
            self._socket.send(b"\x60\x00" + answer[2:4])
        return answer

    def read_until(self, token: bytes) -> list[bytes]:
        """All that comes before the answer with a token, that one left out."""
        found: list[bytes] = []
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            answer = self.read(PATIENCE_S)
            if answer is None:
                break
            if answer[1] and answer[4 : 4 + (answer[0] & 15)] == token:
                return found
            found.append(answer)
        raise AssertionError("no answer to the marker")

    def close(self) -> None:
        self._socket.close()


def normal(answers: list[bytes]) -> list[tuple[Any, ...]]:
    """Answers without what may differ: message ids of the gateway's own, and how a slow disk made it answer."""
    found = []
    for answer in answers:
        kind, code = answer[0] >> 4 & 3, answer[1]
        if kind == ACK and code == 0:
            continue  # the answer itself follows separately
        own_id = kind in (ACK, RST)
        mid = answer[2:4] if own_id and code == 0 else None
        found.append(("non" if kind == NON else "con", code, mid, answer[0] & 15, answer[4:]))
    return sorted(found, key=repr)


class Pair:
    """Two gateways, and what is counted in both."""

    def __init__(self, fast: GatewayProcess, slow: GatewayProcess) -> None:
        self.gateways = (fast, slow)
        self.numbers = itertools.count(1)
        self.nodes = {
            "press": node(PRESS),
            "oven": node(OVEN),
            "stranger": node(keys(9)),
            "forger": node(keys(1, "ab" * 16)),
        }
        self.last: tuple[bytes, bytes] | None = None

    def prove_freshness(self) -> None:
        """Each node's first protected request to each gateway, with the Echo that it asks for."""
        for context in (self.nodes["press"], self.nodes["oven"]):
            for gateway in self.gateways:
                side = Exchange(gateway.coap_port)
                echo = b""
                for mid in (1, 2):
                    value, ciphertext, binding = context.protect_request(GET_TIME + echo)
                    side.send(message(CON, mid, b"e", [(9, value)], ciphertext))
                    answer = side.read(PATIENCE_S)
                    assert answer is not None
                    outer = aiocoap.Message.decode(answer)
                    inner = context.unprotect_response(binding, outer.opt.oscore, outer.payload)
                    echo = option(ECHO - 11, find_option(inner, ECHO) or b"")
                assert inner[0] == aiocoap.CONTENT
                side.close()
            # A number far ahead of all that went to one gateway only: from here on both windows are the same.
            context.numbers = _Numbers(100)
            value, ciphertext, _ = context.protect_request(GET_TIME)
            for gateway in self.gateways:
                side = Exchange(gateway.coap_port)
                side.send(message(CON, 3, b"e", [(9, value)], ciphertext))
                assert side.read(PATIENCE_S) is not None
                side.close()

    def exchange(self, datagrams: list[bytes]) -> list[list[list[tuple[Any, ...]]]]:
        """What each gateway answers to the datagrams, sent one after the other from one port."""
        results = []
        sides = [Exchange(gateway.coap_port) for gateway in self.gateways]
        for datagram in datagrams:
            for side in sides:
                side.send(datagram)
            found: list[list[bytes]] = [[], []]
            # Packs are answered in the order of their commits. When the first marker is answered the datagram's task has run, if it made
            # one; when the second is, everything that the datagram led to is answered.
            for _ in range(2):
                number = next(self.numbers)
                token = b"mark%04x" % number
                marker = message(CON, 0xF000 + number % 0xF00, token, [PATH_T, FORMAT], pack("marker-1", 1, number))
                for side, answers in zip(sides, found, strict=True):
                    side.send(marker)
                    answers.extend(side.read_until(token))
            deadline = time.monotonic() + PATIENCE_S
            while normal(found[0]) != normal(found[1]) and time.monotonic() < deadline:
                # A disk too slow for a piggybacked answer makes aiocoap queue separate ones behind each other.
                for side, answers in zip(sides, found, strict=True):
                    answer = side.read(QUIET_S)
                    if answer is not None:
                        answers.append(answer)
            results.append([normal(answers) for answers in found])
        for side in sides:
            late = side.read(QUIET_S)
            assert late is None, f"answered too late, or twice: {late!r}"
            side.close()
        return results

    def counts(self) -> list[dict[str, str]]:
        """Metrics of both that say what became of packs."""
        wanted = r"^andon_gateway_((?:packs|readings|duplicate|rejected|refused|postponed|unavailable|oscore_refused|node_)\S*) (\S+)$"
        return [
            {
                name: value
                for name, value in re.findall(wanted, gateway.get("/metrics"), re.MULTILINE)
                if "created" not in name and "last_seen" not in name
            }
            for gateway in self.gateways
        ]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    cloud = StandInCloud().start()
    cloud.give_keys(press_7=PRESS, oven_1=OVEN)
    extra = "[nodes]\npacks_per_s = 0\nmost_unknown = 1000\n"
    started = []
    for name in ("fast", "slow"):
        process = GatewayProcess(tmp_path_factory.mktemp(name), cloud.url, extra, fast_path=name == "fast")
        started.append(process.start())
    both = Pair(*started)
    for process in started:
        wait_until(lambda process=process: process.metric("nodes_with_keys") == 2, "the keys")  # type: ignore[misc]  # a default argument
    both.prove_freshness()
    yield both
    for process in started:
        process.kill()
    cloud.stop()


def option(delta: int, value: bytes) -> bytes:
    """One option (RFC 7252 3.1)."""

    def nibble(number: int) -> tuple[int, bytes]:
        if number < 13:
            return number, b""
        return (13, bytes([number - 13])) if number < 269 else (14, (number - 269).to_bytes(2, "big"))

    (high, more), (low, longer) = nibble(delta), nibble(len(value))
    return bytes([high << 4 | low]) + more + longer + value


def message(
    kind: int, mid: int, token: bytes, options: list[tuple[int, bytes]], payload: bytes, code: int = 2
) -> bytes:
    """A CoAP message, by RFC 7252 and without any library."""
    data = bytes([0x40 | kind << 4 | min(len(token), 15), code]) + mid.to_bytes(2, "big") + token
    last = 0
    for number, value in sorted(options, key=lambda item: item[0]):
        data += option(number - last, value)
        last = number
    return data + (b"\xff" + payload if payload else b"")


PACKS = st.one_of(
    st.builds(
        lambda node, seq, values: pack(node, 1, seq, *[temperature(v, c) for c, v in enumerate(values)], cycles(seq), base_ms=NOW_MS),
        st.sampled_from(["saw-1", "saw-2", "press-7"]), st.integers(0, 40), st.lists(st.floats(-50, 500), max_size=8),
    ),
    st.sampled_from([b"not cbor", b"\x80", b"[]", b"", b"x" * 1025, b"\x9f" * 200, b"\xff", b"\x00"]),
    st.builds(lambda seq: b'[{"bn":"saw-3/","n":"boot","v":1},{"n":"seq","v":%d},{"n":"temperature/0","v":2}]' % seq, st.integers(0, 9)),
)  # fmt: skip
OPTIONS = st.one_of(
    st.just([PATH_T, FORMAT]),
    st.just([PATH_T, FORMAT]),
    st.lists(
        st.sampled_from([
            PATH_T, PATH_T, FORMAT, (11, b""), (11, b"x"), (11, b"\xff"), (12, b"\x6e"), (12, b""), (12, b"\x00\x70"), (12, b"\x32"),
            (12, b"\xff\xff"), (12, b"\x01\x00\x00"), (27, b""), (27, b"\x06"), (27, b"\x0e"), (27, b"\x16"), (17, b"\x3c"), (3, b"gateway"),
            (7, b"\x16\x33"), (15, b"ep=saw-1"), (5, b""), (65001, b"critical"), (65000, b"elective"), (258, b"\x02"), (258, b"\x1a"),
            (252, b"12345678"), (6, b""), (60, b"\x10"), (14, b"\x05"), (23, b"\x06"), (1, b"tag"), (16, b"\x03"), (9, b""), (9, b"\x09\x01"),
        ]), max_size=4,
    ),
)  # fmt: skip


@st.composite
def plain(draw: st.DrawFn) -> bytes:
    """A request in the clear; mostly POST, of few message ids, so that some are duplicates."""
    token = draw(st.one_of(st.binary(max_size=8), st.binary(min_size=9, max_size=9)))
    code = draw(st.sampled_from([2, 2, 2, 2, 1, 3, 4, 5, 31]))
    kind = draw(st.sampled_from([CON, CON, NON, NON, ACK, RST]))
    options = draw(OPTIONS)
    if code == 1 and (11, b"t") not in options:
        options = [PATH_T, *options]  # /.well-known/core and the like would not differ, but a client's GET /time would
    data = bytearray(message(kind, draw(st.integers(1, 4)), token, options, draw(PACKS), code))
    if draw(st.integers(0, 7)) == 0:
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    if draw(st.integers(0, 15)) == 0:
        del data[draw(st.integers(0, len(data) - 1)) :]
    return bytes(data)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(datagrams=st.lists(plain(), min_size=1, max_size=4))
def test_requests_in_the_clear_are_answered_alike(pair: Pair, datagrams: list[bytes]) -> None:
    for datagram, (fast, slow) in zip(datagrams, pair.exchange(datagrams), strict=True):
        assert fast == slow, datagram.hex()
    fast_counts, slow_counts = pair.counts()
    assert fast_counts == slow_counts


INNER = st.one_of(
    st.tuples(st.just([PATH_T, FORMAT]), PACKS),
    st.tuples(st.just([PATH_T, FORMAT]), PACKS),
    st.tuples(OPTIONS.map(lambda options: [item for item in options if item[0] not in (9, 252)]), PACKS),
)


@st.composite
def sealed(draw: st.DrawFn) -> tuple[str, int, bytes, int, list[tuple[int, bytes]], bytes, int, int]:
    """(whose keys, type, token, message id, inner options, inner payload, inner code, what to spoil)."""
    options, payload = draw(INNER)
    return (
        draw(st.sampled_from(["press", "press", "press", "oven", "stranger", "forger"])),
        draw(st.sampled_from([CON, CON, NON])),
        draw(st.binary(max_size=8)),
        draw(st.integers(1, 6)),
        options,
        payload,
        draw(st.sampled_from([2, 2, 2, 3, 0, 69])),
        draw(st.sampled_from([0, 0, 0, 1, 2, 3, 4])),
    )


SPOILT_OPTIONS = [
    b"",
    b"\x00",
    b"\x09",
    b"\xe9\x01\x01",
    b"\x19\x05\x01c\x01",
    b"\x01\x01",
    b"\x0f\x01\x01\x01\x01\x01\x01\x01\x01",
    b"\x08\x01",
]


def seal(pair: Pair, item: tuple[str, int, bytes, int, list[tuple[int, bytes]], bytes, int, int]) -> bytes:
    """The datagram."""
    whose, kind, token, mid, options, payload, code, spoil = item
    inner = message(0, 0, b"", options, payload, code)
    option_value, ciphertext, _ = pair.nodes[whose].protect_request(bytes([inner[1]]) + inner[4:])
    if spoil == 1:
        ciphertext = ciphertext[:-1] + bytes([ciphertext[-1] ^ 1])
    elif spoil == 2 and pair.last is not None:
        option_value, ciphertext = pair.last
    elif spoil == 3:
        ciphertext = ciphertext[: len(payload) % 12]
    elif spoil == 4:
        option_value = SPOILT_OPTIONS[len(payload) % len(SPOILT_OPTIONS)]
    pair.last = option_value, ciphertext
    outside = [(9, option_value)] if mid != 6 else [(3, b"gateway"), (9, option_value)]
    return message(kind, mid, token, outside, ciphertext)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(items=st.lists(sealed(), min_size=1, max_size=4))
def test_protected_requests_are_answered_alike(
    pair: Pair, items: list[tuple[str, int, bytes, int, list[tuple[int, bytes]], bytes, int, int]]
) -> None:
    datagrams = [seal(pair, item) for item in items]
    for item, (fast, slow) in zip(items, pair.exchange(datagrams), strict=True):
        assert fast == slow, item
    fast_counts, slow_counts = pair.counts()
    assert fast_counts == slow_counts


def test_both_ways_were_taken(pair: Pair) -> None:
    """Otherwise the comparisons above compare aiocoap with itself."""
    fast, slow = (
        dict(re.findall(r'datagrams_total\{way="(\w+)"\} (\S+)', gateway.get("/metrics"))) for gateway in pair.gateways
    )
    assert set(slow.values()) == {"0.0"}
    assert fast.pop("shed") == "0.0"
    assert float(fast["fast"]) > 50
    assert min(map(float, fast.values())) >= 1


def test_a_duplicate_gets_the_same_answer_and_is_not_taken_again(pair: Pair) -> None:
    before = pair.counts()[0]
    datagram = message(CON, 77, b"same", [PATH_T, FORMAT], pack("twice-1", 1, 0, temperature(1.5)))
    side = Exchange(pair.gateways[0].coap_port)
    for _ in range(5):
        side.send(datagram)  # those that come before the commit are not answered at all (RFC 7252 4.5 lets them wait)
    first = side.read(PATIENCE_S)
    assert first is not None
    assert first[1] == 0x44
    while (again := side.read(QUIET_S)) is not None:
        assert again == first
    side.send(datagram)
    assert side.read(PATIENCE_S) == first
    side.close()
    after = pair.counts()[0]
    gained = {
        name: float(after[name]) - float(before.get(name, 0)) for name in ("packs_total", "duplicate_packs_total")
    }
    assert gained == {"packs_total": 1, "duplicate_packs_total": 0}
