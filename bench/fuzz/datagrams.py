"""Hostile datagrams under a seed: raw bytes, spoilt good messages, well-formed nonsense, and OSCORE from strangers, forgers and a mole.

The mole is a node whose keys the attacker has: its messages open without fault and carry nonsense.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from bench.gateway.oscore_nodes import OscoreNode
from bench.gateway.packs import PATH_T_112, PackSource, coap_request, pack_request, registration

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

MOST_BYTES: Final = 1400
_ONE_MORE, _TWO_MORE = 13, 269
_PATHS: Final = (
    b"t",
    b"rd",
    b"time",
    b"config",
    b"fw",
    b".well-known",
    b"core",
    b"..",
    b"",
    b"\xff\xfe",
    b"t\x00",
    b"mole",
)
_QUERIES: Final = (
    b"ep=mole",
    b"ep=fuzz-1",
    b"ep=",
    b"ep=bench-1",
    b"lt=60",
    b"lt=-1",
    b"lt=99999999999",
    b"ep",
    b"\xc3\x28",
    b"con=coap://x",
)
_NUMBERS: Final = (1, 3, 4, 5, 6, 7, 8, 9, 11, 12, 14, 15, 17, 20, 23, 27, 28, 35, 39, 60, 252, 258, 292, 2048, 65000)
"""If-Match to Request-Tag (RFC 7252 12.2 and later), some that nobody knows, critical and elective."""
_EXCHANGES_KEPT: Final = 64


def option_bytes(pairs: list[tuple[int, bytes]]) -> bytes:
    """Options as RFC 7252 3.1 has them, in the order of their numbers."""
    encoded, last = bytearray(), 0
    for number, value in sorted(pairs, key=lambda pair: pair[0]):
        delta, delta_more = _nibble(number - last)
        length, length_more = _nibble(len(value))
        encoded += bytes([delta << 4 | length]) + delta_more + length_more + value
        last = number
    return bytes(encoded)


def _nibble(value: int) -> tuple[int, bytes]:
    if value < _ONE_MORE:
        return value, b""
    if value < _TWO_MORE:
        return 13, bytes([value - _ONE_MORE])
    return 14, struct.pack("!H", value - _TWO_MORE)


class Attacker:
    """An endless source of hostile datagrams.

    Args:
        chance: Seeded.
        mole_keys: Keys that the attacker has, as in the cloud's event.
        start_ms: Time of the packs that are to be spoilt, ms since the epoch.
    """

    def __init__(self, chance: random.Random, mole_keys: dict[str, str], start_ms: int) -> None:
        self._chance = chance
        self._mole_keys = mole_keys
        self._mole = OscoreNode("mole", mole_keys)
        self._packs = PackSource("fuzz-1", start_ms)
        self._mole_packs = PackSource("mole", start_ms)
        self._number = 0
        self._sent: list[bytes] = []
        self._kinds: list[tuple[Callable[[], bytes], int]] = [
            (self._raw, 15), (self._spoilt_good, 25), (self._well_formed, 25), (self._header_games, 10),
            (self._stranger, 8), (self._forger, 7), (self._mole_nonsense, 7), (self._again, 3),
        ]  # fmt: skip

    def next(self) -> bytes:
        """The next datagram."""
        self._number += 1
        make = self._chance.choices(*zip(*self._kinds, strict=True))[0]
        datagram: bytes = make()[:MOST_BYTES]
        if len(self._sent) < _EXCHANGES_KEPT:
            self._sent.append(datagram)
        else:
            self._sent[self._chance.randrange(_EXCHANGES_KEPT)] = datagram
        return datagram

    def _bytes(self, most: int) -> bytes:
        return self._chance.randbytes(self._chance.randint(0, most))

    def _raw(self) -> bytes:
        data = self._bytes(self._chance.choice((4, 16, 64, 1200)))
        return bytes([data[0] & 0x3F | 0x40]) + data[1:] if data and self._chance.random() < 0.5 else data  # noqa: PLR2004  # half of them with CoAP's version

    def spoil(self, data: bytes) -> bytes:
        """Flip bits, cut, repeat or insert, some of it at once."""
        spoilt = bytearray(data)
        for _ in range(self._chance.choice((1, 1, 1, 2, 4, 16))):
            at = self._chance.randrange(len(spoilt) + 1)
            what = self._chance.randrange(5)
            if what == 0 and at < len(spoilt):
                spoilt[at] ^= 1 << self._chance.randrange(8)
            elif what == 1 and at < len(spoilt):
                spoilt[at] = self._chance.choice((0, 0xFF, 0x7F, 0x80, self._chance.randrange(256)))
            elif what == 2:  # noqa: PLR2004  # a case
                del spoilt[at:]
            elif what == 3:  # noqa: PLR2004  # same
                spoilt[at:at] = self._bytes(8)
            else:
                spoilt[at:at] = spoilt[at : at + self._chance.randint(1, 32)]
        return bytes(spoilt)

    def _good(self) -> bytes:
        if self._chance.random() < 0.8:  # noqa: PLR2004  # mostly packs
            return pack_request(self._number, self._packs.next())
        return registration(self._number, self._chance.choice(("fuzz-1", "fuzz-2", "bench-1")))

    def _spoilt_good(self) -> bytes:
        return self.spoil(self._good())

    def _options(self) -> list[tuple[int, bytes]]:
        pairs = [(11, self._chance.choice(_PATHS)) for _ in range(self._chance.choice((0, 1, 1, 1, 2, 3)))]
        pairs += [(15, self._chance.choice(_QUERIES)) for _ in range(self._chance.choice((0, 0, 1, 2)))]
        for _ in range(self._chance.choice((0, 0, 1, 1, 2, 4, 12))):
            pairs.append((self._chance.choice(_NUMBERS), self._bytes(self._chance.choice((0, 1, 2, 3, 4, 8, 40, 300)))))
        return pairs

    def _head(self, code: int, token: bytes) -> bytes:
        kind = self._chance.choice((0, 0, 0, 1, 2, 3))
        return struct.pack("!BBH", 0x40 | kind << 4 | len(token), code, self._number & 0xFFFF) + token

    def _well_formed(self) -> bytes:
        code = self._chance.choice((1, 2, 2, 2, 3, 4, 5, 6, 7, 8, 31, 0x44, 0x45, 0x84, 0xA0, 0))
        payload = self._chance.choice((b"", self._packs.next(), self._bytes(200)))
        token = self._bytes(8)
        return self._head(code, token) + option_bytes(self._options()) + (b"\xff" + payload if payload else b"")

    def _header_games(self) -> bytes:
        """Token lengths above 8, versions, empty messages with a body, markers without payload, huge option deltas."""
        first, code = (
            self._chance.randrange(256),
            self._chance.choice((0, 1, 2, 0x44, 0xFF, self._chance.randrange(256))),
        )
        rest = self._chance.choice(
            (b"", b"\xff", b"\xf0", b"\xef\xff\xff", b"\xee\xff\xff\xff\xff", PATH_T_112 + b"\xff", self._bytes(20))
        )
        return struct.pack("!BBH", first, code, self._number & 0xFFFF) + self._bytes(8) + rest

    def _stranger(self) -> bytes:
        """An OSCORE option of any shape, with keys that nobody has."""
        value = bytes([self._chance.randrange(256)]) + self._bytes(12)
        return (
            self._head(self._chance.choice((2, 5, 1)), self._bytes(8))
            + option_bytes([(9, value)])
            + b"\xff"
            + self._bytes(60)
        )

    def _forger(self) -> bytes:
        """In the name of a node that has keys, the mole or a good one, with a ciphertext that does not fit."""
        if self._chance.random() < 0.5:  # noqa: PLR2004  # half
            return self.spoil(self._mole.pack(self._number, self._mole_packs.next()))
        kid = self._chance.randrange(1, 20).to_bytes(2, "big")
        number = self._chance.choice((0, 1, 255, 1 << 20, (1 << 40) - 1)).to_bytes(5, "big").lstrip(b"\0") or b"\0"
        value = bytes([0x08 | len(number)]) + number + kid
        return coap_request(self._number, option_bytes([(9, value)]), self._bytes(80) or b"x")

    def _mole_nonsense(self) -> bytes:
        """Authentic, and nonsense inside."""
        inside = self._chance.choice((
            self._bytes(60) or b"\0",
            bytes([self._chance.choice((0, 1, 2, 3, 4, 5, 0x44))]) + option_bytes(self._options()) + b"\xff" + self._bytes(100),
            b"\x02" + PATH_T_112 + b"\xff" + self.spoil(self._mole_packs.next()),
        ))  # fmt: skip
        return self._mole.protect(self._number, inside)

    def _again(self) -> bytes:
        """One of the last ones once more: the same message id, perhaps from another port."""
        return self._chance.choice(self._sent) if self._sent else b""
