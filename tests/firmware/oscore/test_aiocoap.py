"""The node's OSCORE against aiocoap's: one protects, the other unprotects, in both directions and both roles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aiocoap import CON, Message, oscore  # type: ignore[import-untyped] # aiocoap ships no types
from aiocoap.numbers.codes import Code  # type: ignore[import-untyped] # as above
from aiocoap.numbers.optionnumbers import OptionNumber  # type: ignore[import-untyped] # as above
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from firmware.oscore.vm import Board

SECRET, SALT = bytes(range(1, 17)), bytes(range(8))
OBSERVE, OSCORE, ECHO = 6, 9, 252
Options = list[tuple[int, bytes]]


class PeerContext(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):  # type: ignore[misc] # untyped base
    """aiocoap's algorithms with our parameters, in memory."""

    def __init__(self, sender_id: bytes, recipient_id: bytes, id_context: bytes | None, *, echo: bytes | None) -> None:
        self.alg_aead = oscore.algorithms["AES-CCM-16-64-128"]
        self.hashfun = oscore.hashfunctions["sha256"]
        self.sender_id, self.recipient_id, self.id_context = sender_id, recipient_id, id_context
        self.derive_keys(SALT, SECRET)
        self.sender_sequence_number = 0
        self.echo_recovery = echo
        self.recipient_replay_window = oscore.ReplayWindow(32, lambda: None)
        if echo is None:
            self.recipient_replay_window.initialize_empty()

    def post_seqnoincrease(self) -> None:
        """Nothing is stored: a test's context lives once."""


class Plain(NamedTuple):
    code: int
    options: Options
    payload: bytes


def uint(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


UINTS = st.integers(0, 0xFFFF).map(uint)
TEXT = st.text("abcdefghij-/", min_size=1, max_size=20).map(str.encode)
BLOCK = st.integers(0, 0xFFFFF).filter(lambda value: value & 7 != 7).map(uint)
OPAQUE = st.binary(min_size=1, max_size=8)


def options(*, request: bool, observe: bool) -> st.SearchStrategy[Options]:
    both = {
        12: UINTS,
        23: BLOCK,
        27: BLOCK,
        28: UINTS,
        60: UINTS,
        ECHO: OPAQUE,
        2050: st.binary(max_size=300),
        65002: OPAQUE,
    }
    asking = {1: OPAQUE, 3: TEXT, 7: UINTS, 15: TEXT, 17: UINTS, 258: st.just(b"\x1a"), 292: OPAQUE}
    answering = {4: OPAQUE, 8: TEXT, 14: UINTS, 20: TEXT}
    kinds: dict[int, st.SearchStrategy[bytes]] = both | (asking if request else answering)
    chosen = st.lists(st.sampled_from(sorted(kinds)), unique=True, max_size=6).flatmap(
        lambda numbers: st.tuples(*[st.tuples(st.just(number), kinds[number]) for number in numbers])
    )
    path = st.lists(st.tuples(st.just(11), TEXT), max_size=3) if request else st.just([])
    fixed: Options = [(OBSERVE, b"")] if observe else []
    return st.tuples(chosen, path).map(
        lambda drawn: sorted([*drawn[0], *drawn[1], *fixed], key=lambda option: option[0])
    )


def messages(code: int, *, request: bool, observe: bool) -> st.SearchStrategy[Plain]:
    return st.builds(Plain, st.just(code), options(request=request, observe=observe), st.binary(max_size=300))


def to_board(option_list: Options) -> list[list[object]]:
    return [[number, value.hex()] for number, value in option_list]


def from_board(answer: list[Any]) -> Plain:
    return Plain(answer[0], [(number, bytes.fromhex(value)) for number, value in answer[1]], bytes.fromhex(answer[2]))


def to_aiocoap(plain: Plain) -> Message:
    made = Message(code=Code(plain.code), payload=plain.payload)
    for number, value in plain.options:
        made.opt.add_option(OptionNumber(number).create_option(decode=value))
    return made


def through_the_air(message: Message) -> Message:
    """Encode and decode as a datagram, so that aiocoap sees what a network would deliver."""
    message.mtype, message.mid, message.token = CON, 1, b"t"
    return Message.decode(message.encode())


def plain_of(message: Message) -> Plain:
    found = [(int(option.number), option.encode()) for option in message.opt.option_list()]
    return Plain(int(message.code), found, message.payload)


def without_observe(plain: Plain) -> Plain:
    return plain._replace(options=[option for option in plain.options if option[0] != OBSERVE])


CASES = st.booleans().flatmap(
    lambda observe: st.tuples(
        messages(0x01 if observe else 0x02, request=True, observe=observe),
        st.lists(messages(0x45, request=False, observe=observe), min_size=1, max_size=3 if observe else 1),
    )
)
IDS = st.lists(st.binary(max_size=7), min_size=2, max_size=2, unique=True)
ID_CONTEXTS = st.none() | st.binary(max_size=40)
differential = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def open_board(
    board: Board, sender: bytes, recipient: bytes, id_context: bytes | None, start: int, *, fresh: bool
) -> None:
    named = None if id_context is None else id_context.hex()
    board.call("open_context", "n", SECRET.hex(), SALT.hex(), named, sender.hex(), recipient.hex(), start, fresh)


@differential
@given(IDS, ID_CONTEXTS, st.integers(0, 2**40 - 5000), CASES)
def test_node_asks_aiocoap(
    board: Board, ids: list[bytes], id_context: bytes | None, start: int, case: tuple[Plain, list[Plain]]
) -> None:
    request, responses = case
    open_board(board, ids[0], ids[1], id_context, start, fresh=True)
    peer = PeerContext(ids[1], ids[0], id_context, echo=None)

    *outer, exchange = board.call(
        "protect_request", "n", request.code, to_board(request.options), request.payload.hex()
    )
    protected = from_board(outer)
    received, request_id = peer.unprotect(through_the_air(to_aiocoap(protected)))

    outside = [option for option in request.options if option[0] in (3, 7)]
    inside = [option for option in request.options if option[0] not in (3, 7)]
    assert plain_of(received) == request._replace(options=inside)
    visible = {number for number, _ in protected.options}
    assert visible == {OSCORE} | {number for number, _ in outside} | ({OBSERVE} & {number for number, _ in inside})

    for response in responses:
        answer, _ = peer.protect(to_aiocoap(response), request_id)
        over = plain_of(through_the_air(answer))
        got = from_board(board.call("unprotect_response", "n", exchange, to_board(over.options), over.payload.hex()))
        assert without_observe(got) == without_observe(response)
        assert {OBSERVE} & {n for n, _ in got.options} == {OBSERVE} & {n for n, _ in response.options}


@differential
@given(IDS, ID_CONTEXTS, st.integers(0, 2**40 - 5000), CASES)
def test_aiocoap_asks_node(
    board: Board, ids: list[bytes], id_context: bytes | None, start: int, case: tuple[Plain, list[Plain]]
) -> None:
    request, responses = case
    open_board(board, ids[0], ids[1], id_context, start, fresh=True)
    peer = PeerContext(ids[1], ids[0], id_context, echo=None)
    peer.sender_sequence_number = start // 3

    sent, request_id = peer.protect(to_aiocoap(request))
    over = plain_of(through_the_air(sent))
    assert board.call("find_context", ["n"], to_board(over.options)) == ["n"]
    *plain, exchange = board.call("unprotect_request", "n", to_board(over.options), over.payload.hex())
    # aiocoap sends Uri-Host outside and drops Uri-Port, which it takes for the transport's business
    assert from_board(plain) == request._replace(options=[o for o in request.options if o[0] != 7])

    for response in responses:
        answer = board.call(
            "protect_response", "n", exchange, response.code, to_board(response.options), response.payload.hex()
        )
        received, _ = peer.unprotect(through_the_air(to_aiocoap(from_board(answer))), request_id)
        received.opt.observe = None  # aiocoap numbers notifications itself, beyond what the option can hold
        assert plain_of(received) == without_observe(response)


@differential
@given(IDS, messages(0x02, request=True, observe=False))
def test_a_restarted_node_challenges_aiocoap(board: Board, ids: list[bytes], request: Plain) -> None:
    request = request._replace(options=[option for option in request.options if option[0] not in (3, 7, ECHO)])
    open_board(board, ids[0], ids[1], None, 77, fresh=False)
    peer = PeerContext(ids[1], ids[0], None, echo=None)
    sent, request_id = peer.protect(to_aiocoap(request))
    over = plain_of(through_the_air(sent))
    name, *challenge = board.call("unprotect_request", "n", to_board(over.options), over.payload.hex())
    assert name == "EchoRequiredError"
    received, _ = peer.unprotect(through_the_air(to_aiocoap(from_board(challenge))), request_id)
    assert (received.code, received.payload) == (Code.UNAUTHORIZED, b"")

    again = to_aiocoap(request)
    again.opt.echo = received.opt.echo
    sent, _ = peer.protect(again)
    over = plain_of(through_the_air(sent))
    assert board.call("unprotect_request", "n", to_board(over.options), over.payload.hex())[0] == request.code


@differential
@given(IDS, messages(0x02, request=True, observe=False))
def test_a_restarted_aiocoap_challenges_the_node(board: Board, ids: list[bytes], request: Plain) -> None:
    request = request._replace(options=[option for option in request.options if option[0] not in (3, 7, ECHO)])
    open_board(board, ids[0], ids[1], None, 77, fresh=True)
    peer = PeerContext(ids[1], ids[0], None, echo=b"freshly1")
    *outer, exchange = board.call(
        "protect_request", "n", request.code, to_board(request.options), request.payload.hex()
    )
    try:
        peer.unprotect(through_the_air(to_aiocoap(from_board(outer))))
        raise AssertionError("aiocoap accepted a request it cannot know to be fresh")
    except oscore.ReplayErrorWithEcho as error:
        over = plain_of(through_the_air(error.to_message()))
    code, echo, payload = board.call("unprotect_response", "n", exchange, to_board(over.options), over.payload.hex())
    assert (code, echo, payload) == (0x81, [[ECHO, b"freshly1".hex()]], "")

    repeated = sorted([*request.options, (ECHO, b"freshly1")], key=lambda option: option[0])
    *outer, _ = board.call("protect_request", "n", request.code, to_board(repeated), request.payload.hex())
    received, _ = peer.unprotect(through_the_air(to_aiocoap(from_board(outer))))
    assert plain_of(received) == request._replace(options=repeated)
