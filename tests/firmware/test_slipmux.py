"""Slipmux on both sides: the node's codec in the MicroPython VM, the gateway's, and the two against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from firmware.micropython_vm import LineVm
from hypothesis import given, settings
from hypothesis import strategies as st

from andon_gateway.serial import slipmux

if TYPE_CHECKING:
    from collections.abc import Iterator

# Lines: `encode HEX` -> frame; `fcs HEX`; anything else is fed to one decoder: messages in hex, and how many were broken.
NODE = """
from binascii import hexlify, unhexlify
from andon_node.net import slipmux
decoder = slipmux.Decoder(1152)

def answer(line):
    verb, _, data = line.partition(" ")
    data = unhexlify(data)
    if verb == "encode":
        return hexlify(slipmux.encode(slipmux.COAP, data)).decode()
    if verb == "fcs":
        return str(slipmux.fcs16(data))
    messages = [decoder.feed(byte) for byte in data]
    return " ".join([str(decoder.broken)] + [hexlify(m).decode() or "-" for m in messages if m is not None])
"""

messages = st.binary(min_size=1, max_size=200) | st.lists(st.sampled_from([0xC0, 0xDB, 0xDC, 0xDD, 0xA9, 0x0A])).map(
    bytes
)


@pytest.fixture(scope="module")
def node() -> Iterator[LineVm]:
    vm = LineVm(NODE)
    yield vm
    vm.close()


class NodeDecoder:
    """The node's decoder, which lives on through all cases: each starts with an END that ends the one before."""

    def __init__(self, vm: LineVm) -> None:
        self._vm = vm

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        before = int(self._vm.ask("feed c0").split()[0])
        broken, *found = self._vm.ask(f"feed {data.hex()}").split()
        return [b"" if text == "-" else bytes.fromhex(text) for text in found], int(broken) - before


def bit_by_bit(data: bytes) -> int:
    """RFC 1662's polynomial x^16 + x^12 + x^5 + 1, one bit at a time."""
    fcs = 0xFFFF
    for byte in data:
        for bit in range(8):
            fcs = fcs >> 1 ^ (0x8408 if (fcs ^ byte >> bit) & 1 else 0)
    return fcs


def test_fcs_of_the_catalogue(node: LineVm) -> None:
    # CRC-16/IBM-SDLC (the catalogue's name of FCS-16): check value and residue. 0x374C is what other implementations of
    # slipmux start from, the FCS of the initial byte alone.
    assert slipmux.fcs16(b"123456789") ^ 0xFFFF == 0x906E
    assert int(node.ask(f"fcs {b'123456789'.hex()}")) ^ 0xFFFF == 0x906E
    assert slipmux.fcs16(b"\xa9") == int(node.ask("fcs a9")) == 0x374C
    assert slipmux.fcs16(b"123456789\x6e\x90") == 0xF0B8


def test_frame_byte_by_byte(node: LineVm) -> None:
    # A bare GET, message id 0xC0DB: both bytes are escaped.
    message = bytes.fromhex("4001c0db")
    fcs = (bit_by_bit(b"\xa9" + message) ^ 0xFFFF).to_bytes(2, "little")
    assert not set(fcs) & {0xC0, 0xDB}
    frame = bytes.fromhex("c0a94001dbdcdbdd") + fcs + b"\xc0"
    assert slipmux.encode(message) == bytes.fromhex(node.ask(f"encode {message.hex()}")) == frame


@given(st.binary(max_size=300))
def test_fcs_is_the_polynomials(data: bytes) -> None:
    assert slipmux.fcs16(data) == bit_by_bit(data)


@settings(max_examples=150, deadline=None)
@given(parts=st.lists(messages, min_size=1, max_size=4), size=st.integers(1, 50))
def test_each_side_reads_the_other(node: LineVm, parts: list[bytes], size: int) -> None:
    line = b"".join(slipmux.encode(part) for part in parts)
    assert line == b"".join(bytes.fromhex(node.ask(f"encode {part.hex()}")) for part in parts)
    assert NodeDecoder(node).feed(line) == (parts, 0)
    decoder = slipmux.Decoder()
    found = [message for at in range(0, len(line), size) for message in decoder.feed(line[at : at + size]).messages]
    assert (found, decoder.broken) == (parts, 0)


@settings(max_examples=300, deadline=None)
@given(noise=st.binary(max_size=400), message=messages)
def test_any_noise_leaves_the_next_frame_whole(node: LineVm, noise: bytes, message: bytes) -> None:
    decoder = slipmux.Decoder()
    received = decoder.feed(noise + slipmux.encode(message))
    found, broken = NodeDecoder(node).feed(noise + slipmux.encode(message))
    # Both sides agree on everything, and the frame after the noise arrives.
    assert received.messages == found
    assert decoder.broken == broken
    assert found[-1] == message


@settings(max_examples=300, deadline=None)
@given(message=messages, data=st.data())
def test_a_damaged_frame_is_never_a_message(node: LineVm, message: bytes, data: st.DataObject) -> None:
    frame = bytearray(slipmux.encode(message))
    kind = data.draw(st.sampled_from(["flip", "lose"]))
    at = data.draw(st.integers(1, len(frame) - 2))
    if kind == "flip":
        frame[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del frame[at]
    found, _ = NodeDecoder(node).feed(bytes(frame))
    received = slipmux.Decoder().feed(bytes(frame))
    assert received.messages == found
    # FCS-16 finds every single flipped bit; a byte that is lost leaves no message, or (all zero, say) the FCS of a shorter one.
    assert message not in found or bytes(frame) == slipmux.encode(message)
    if kind == "flip" and 0xDB not in slipmux.encode(message) and not set(frame[1:-1]) & {0xC0, 0xDB}:
        assert found == []


def test_longest_message_and_one_byte_more(node: LineVm) -> None:
    for size, found in ((1152, 1), (1153, 0)):
        line = slipmux.encode(bytes(size))
        assert len(slipmux.Decoder().feed(line).messages) == found
        assert len(NodeDecoder(node).feed(line)[0]) == found


def test_other_kinds_of_frames(node: LineVm) -> None:
    # A diagnostic text is for people; an IP packet (initial byte 0x45) is for nobody here; neither is an error.
    line = b"\xc0\x0aGuten Tag\xdb\xdd\n\xc0\xc0\x45\x00\x00\x14\xc0"
    decoder = slipmux.Decoder()
    received = decoder.feed(line)
    assert (received.messages, received.diagnostics, decoder.broken) == ([], ["Guten Tag\ufffd\n"], 0)
    assert NodeDecoder(node).feed(line) == ([], 0)


def test_a_sender_gives_a_frame_up(node: LineVm) -> None:
    line = slipmux.encode(b"abc")[:-1] + b"\xdb\xc0" + slipmux.encode(b"next")
    assert slipmux.Decoder().feed(line).messages == [b"next"]
    assert NodeDecoder(node).feed(line)[0] == [b"next"]
