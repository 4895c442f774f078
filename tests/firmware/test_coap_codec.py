"""The CoAP codec against aiocoap's, in the real VM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import pytest
from aiocoap.error import UnparsableMessage  # type: ignore[import-untyped]  # aiocoap ships no types
from aiocoap.numbers.optionnumbers import OptionNumber  # type: ignore[import-untyped]  # aiocoap ships no types
from aiocoap.optiontypes import OpaqueOption  # type: ignore[import-untyped]  # aiocoap ships no types
from firmware.micropython_vm import LineVm
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

# Decodes the datagram of each line, prints its parts and what encoding them again gives.
CODEC = """
from binascii import hexlify, unhexlify
from andon_node.coap import message as coap

def hexed(data):
    return hexlify(data).decode()

def answer(line):
    try:
        m = coap.decode(unhexlify(line))
    except coap.MessageError as error:
        return "error %s" % error.reset_mid
    options = ",".join("%d=%s" % (n, hexed(v)) for n, v in m.options)
    return "%d %d %d %s [%s] %s %s" % (m.kind, m.code, m.mid, hexed(m.token), options, hexed(m.payload), hexed(coap.encode(m)))
"""


@pytest.fixture(scope="module")
def codec() -> Iterator[LineVm]:
    vm = LineVm(CODEC)
    yield vm
    vm.close()


def parts(message: aiocoap.Message, datagram: bytes) -> str:
    """The same line, by aiocoap."""
    options = ",".join(f"{int(o.number)}={o.encode().hex()}" for o in message.opt.option_list())
    return (
        f"{int(message.mtype)} {int(message.code)} {message.mid} {message.token.hex()} [{options}] "
        f"{message.payload.hex()} {datagram.hex()}"
    )


# Options that aiocoap knows no format for, so that it keeps their bytes; gaps of every header size.
option_numbers = st.one_of(st.integers(2050, 2300), st.integers(3000, 65535)).filter(
    lambda number: OptionNumber(number).format is OpaqueOption
)
option_values = st.one_of(st.binary(max_size=16), st.binary(min_size=250, max_size=300))


@st.composite
def messages(draw: st.DrawFn) -> aiocoap.Message:
    kind = draw(st.sampled_from(list(aiocoap.Type)))
    code = aiocoap.Code(draw(st.sampled_from([1, 2, 3, 4, 65, 68, 69, 128, 132, 160, 163])))
    message = aiocoap.Message(code=code, payload=draw(st.binary(max_size=40)))
    message.mtype = kind
    message.mid = draw(st.integers(0, 65535))
    message.token = draw(st.binary(max_size=8))
    for segment in draw(st.lists(st.text(max_size=20), max_size=3)):
        message.opt.add_option(OptionNumber.URI_PATH.create_option(value=segment))
    for number in draw(st.lists(option_numbers, max_size=4)):
        message.opt.add_option(OpaqueOption(OptionNumber(number), draw(option_values)))
    return message


@settings(max_examples=300, deadline=None)
@given(message=messages())
def test_decodes_and_encodes_as_aiocoap(codec: LineVm, message: aiocoap.Message) -> None:
    datagram = message.encode()
    assert codec.ask(datagram.hex()) == parts(message, datagram)


@st.composite
def mutilated(draw: st.DrawFn) -> bytes:
    datagram = bytearray(draw(messages()).encode())
    for _ in range(draw(st.integers(1, 3))):
        datagram[draw(st.integers(0, len(datagram) - 1))] = draw(st.integers(0, 255))
    return bytes(datagram[: draw(st.integers(0, len(datagram)))])


def judged_by_aiocoap(datagram: bytes) -> aiocoap.Message | None:
    try:
        return aiocoap.Message.decode(datagram)
    except (UnparsableMessage, UnicodeDecodeError, ValueError):
        return None


@settings(max_examples=400, deadline=None)
@given(datagram=st.one_of(st.binary(max_size=24), mutilated()))
def test_accepts_nothing_that_aiocoap_refuses(codec: LineVm, datagram: bytes) -> None:
    answer = codec.ask(datagram.hex())
    judged = judged_by_aiocoap(datagram)
    if judged is None:
        # aiocoap also refuses text options that are no UTF-8, which is the resource's business with us.
        accepted_text = not answer.startswith("error") and any(
            int(part.split("=")[0]) in {3, 8, 11, 15, 20, 35, 39}
            for part in answer.split("[")[1].split("]")[0].split(",")
            if part
        )
        assert answer.startswith("error") or accepted_text
    elif not answer.startswith("error"):
        kind, code, mid, token = answer.split(" ")[:4]
        assert (int(kind), int(code), int(mid), token) == (
            int(judged.mtype),
            int(judged.code),
            judged.mid,
            judged.token.hex(),
        )
        assert answer.split(" ")[-2] == judged.payload.hex()


def word(*values: Any) -> str:
    return bytes(values).hex()


@pytest.mark.parametrize(
    ("datagram", "answer"),
    [
        (word(), "error None"),
        (word(0x40), "error None"),
        (word(0x40, 1, 0), "error None"),
        (word(0x00, 1, 0, 7), "error None"),  # version 0: ignored in silence
        (word(0x80, 1, 0, 7), "error None"),  # version 2
        (word(0x49, 1, 0, 7, *range(9)), "error 7"),  # token length 9 in a CON: Reset
        (word(0x59, 1, 0, 7, *range(9)), "error None"),  # in a NON: ignored
        (word(0x44, 1, 0, 7, 1, 2), "error 7"),  # token cut off
        (word(0x40, 1, 0, 7, 0xFF), "error 7"),  # payload marker without payload
        (word(0x40, 1, 0, 7, 0xF0), "error 7"),  # reserved option delta
        (word(0x40, 1, 0, 7, 0x0F), "error 7"),  # reserved option length
        (word(0x40, 1, 0, 7, 0xE0, 1), "error 7"),  # extended delta cut off
        (word(0x40, 1, 0, 7, 0xB3, 0x61), "error 7"),  # option value cut off
        (word(0x40, 0, 0, 7, 0xFF, 1), "error 7"),  # an empty message must be empty
        (word(0x41, 0, 0, 7, 1), "error 7"),
        (word(0x40, 1, 0, 7, 0xE0, 0xFF, 0xFF), "error 7"),  # option number above 65535
    ],
)
def test_format_errors(codec: LineVm, datagram: str, answer: str) -> None:
    assert codec.ask(datagram) == answer
