"""The replay window against a set of everything received, and what the messages make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from firmware.oscore.vm import BoardError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from firmware.oscore.vm import Board

SIZE = 32
SECRET = "0102030405060708090a0b0c0d0e0f10"
GET, CONTENT, UNAUTHORIZED, ECHO, OSCORE, OBSERVE = 1, 0x45, 0x81, 252, 9, 6
PATH = [11, b"relay".hex()]
NEAR = st.integers(0, 80)
FAR = st.sampled_from([2**31 - 1, 2**31, 2**32, 2**40 - 1]) | st.integers(0, 2**40 - 1)
STEPS = st.lists(
    st.tuples(st.just("new"), NEAR) | st.tuples(st.just("new"), FAR) | st.tuples(st.just("restart"), NEAR), max_size=120
)


class SetWindow:
    """The definition: accepted once, and only if newer than the newest minus the window's size."""

    def __init__(self, fresh: bool) -> None:  # noqa: FBT001 - as the window has it
        self.usable = fresh
        self.seen: set[int] = set()
        self.floor = -1

    def new(self, number: int) -> bool:
        newest = max(self.seen, default=-1)
        fine = self.usable and number not in self.seen and number > newest - SIZE and number > self.floor
        if fine:
            self.seen.add(number)
        return fine

    def restart(self, number: int) -> None:
        self.usable, self.seen, self.floor = True, {number}, number


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), STEPS)
def test_window_decides_like_a_set(board: Board, fresh: bool, steps: list[tuple[str, int]]) -> None:  # noqa: FBT001 - drawn
    model = SetWindow(fresh)
    expected = []
    for kind, number in steps:
        if kind == "restart":
            model.restart(number)
        else:
            expected.append(model.new(number))
    assert board.call("window", fresh, steps) == expected


def pair(board: Board, *, fresh: bool) -> None:
    board.call("open_context", "client", SECRET, "", None, "01", "02", 0, True)
    board.call("open_context", "server", SECRET, "", None, "02", "01", 5000, fresh)


def refusal(board: Board, *call: object) -> str:
    with pytest.raises(BoardError) as refused:
        board.call(*call)  # type: ignore[arg-type] # the first is the operation's name
    return refused.value.kind


def test_a_request_is_accepted_once(board: Board) -> None:
    pair(board, fresh=True)
    sent = [board.call("protect_request", "client", GET, [PATH], "") for _ in range(40)]
    for _, options, payload, _ in reversed(sent[8:]):
        assert board.call("unprotect_request", "server", options, payload)[0] == GET
    for _, options, payload, _ in sent:
        assert refusal(board, "unprotect_request", "server", options, payload) == "ReplayError"


def test_a_forged_request_does_not_move_the_window(board: Board) -> None:
    pair(board, fresh=True)
    _, options, payload, _ = board.call("protect_request", "client", GET, [PATH], "")
    outcomes = board.call("flip_every_bit", "server", None, options, payload)
    bits = 8 * (len(payload) + len(dict(options)[OSCORE])) // 2
    assert sum(outcomes.values()) == bits
    assert set(outcomes) <= {"DecryptionError", "DecodeError", "ContextNotFoundError"}
    assert board.call("unprotect_request", "server", options, payload)[0] == GET


def test_every_flipped_bit_of_a_response_is_refused(board: Board) -> None:
    pair(board, fresh=True)
    _, options, payload, asked = board.call("protect_request", "client", GET, [PATH], "")
    got = board.call("unprotect_request", "server", options, payload)[3]
    board.call("protect_response", "server", got, CONTENT, [], "00")
    # the second response carries a Partial IV, so that the option has bits to flip
    _, options, payload = board.call("protect_response", "server", got, CONTENT, [[12, "70"]], "8101" * 20)
    assert dict(options)[OSCORE] != ""
    outcomes = board.call("flip_every_bit", "client", asked, options, payload)
    assert set(outcomes) <= {"DecryptionError", "DecodeError", "ResponseRefusedError"}
    assert board.call("unprotect_response", "client", asked, options, payload) == [CONTENT, [[12, "70"]], "8101" * 20]


def test_a_restarted_server_recovers_with_echo(board: Board) -> None:
    pair(board, fresh=True)
    before = [board.call("protect_request", "client", GET, [PATH], "")[1:3] for _ in range(3)]
    board.call("unprotect_request", "server", *before[0])
    # the restart: same keys, window lost
    board.call("open_context", "server", SECRET, "", None, "02", "01", 6000, False)
    for options, payload in before:
        assert board.call("unprotect_request", "server", options, payload)[0] == "EchoRequiredError"
    _, options, payload, asked = board.call("protect_request", "client", GET, [PATH], "")
    first = (options, payload)

    _, code, options, payload = board.call("unprotect_request", "server", options, payload)
    assert code == 0x44
    assert len(dict(options)[OSCORE]) > 2  # its own Partial IV, since the request's nonce may have been used (B.1.2)
    code, options, text = board.call("unprotect_response", "client", asked, options, payload)
    assert (code, text, len(options), options[0][0]) == (UNAUTHORIZED, "", 1, ECHO)

    wrong = board.call("protect_request", "client", GET, [PATH, [ECHO, "00" * 8]], "")
    assert board.call("unprotect_request", "server", *wrong[1:3])[0] == "EchoRequiredError"
    _, outer, payload, asked = board.call("protect_request", "client", GET, [PATH, *options], "")
    assert board.call("unprotect_request", "server", outer, payload)[:3] == [GET, [PATH, *options], ""]
    for old in (*before, first, wrong[1:3], (outer, payload)):
        assert refusal(board, "unprotect_request", "server", *old) == "ReplayError"
    after = board.call("protect_request", "client", GET, [PATH], "")
    assert board.call("unprotect_request", "server", *after[1:3])[0] == GET


def test_an_echo_of_an_earlier_start_is_worth_nothing(board: Board) -> None:
    pair(board, fresh=False)
    _, options, payload, asked = board.call("protect_request", "client", GET, [PATH], "")
    _, _, options, payload = board.call("unprotect_request", "server", options, payload)
    _, echo, _ = board.call("unprotect_response", "client", asked, options, payload)
    answered = board.call("protect_request", "client", GET, [PATH, *echo], "")[1:3]
    board.call("open_context", "server", SECRET, "", None, "02", "01", 6000, False)
    assert board.call("unprotect_request", "server", *answered)[0] == "EchoRequiredError"


def test_notifications_are_ordered_and_accepted_once(board: Board) -> None:
    pair(board, fresh=True)
    _, options, payload, asked = board.call("protect_request", "client", GET, [[OBSERVE, ""], PATH], "")
    got = board.call("unprotect_request", "server", options, payload)[3]
    sent = [board.call("protect_response", "server", got, CONTENT, [[OBSERVE, "05"]], f"{i:02x}")[1:] for i in range(4)]
    assert [len(dict(options)[OSCORE]) > 0 for options, _ in sent] == [False, True, True, True]
    assert board.call("unprotect_response", "client", asked, *sent[0]) == [CONTENT, [[OBSERVE, ""]], "00"]
    assert board.call("unprotect_response", "client", asked, *sent[2])[2] == "02"
    for stale in (0, 1, 2):
        assert refusal(board, "unprotect_response", "client", asked, *sent[stale]) == "ResponseRefusedError"
    code, options, payload = board.call("unprotect_response", "client", asked, *sent[3])
    assert (code, payload) == (CONTENT, "03")
    assert options == [[OBSERVE, f"{5002:06x}"]]  # numbered by Partial IV (4.1.3.5.2)


def test_a_plain_request_gets_one_answer_and_no_notification(board: Board) -> None:
    pair(board, fresh=True)
    _, options, payload, asked = board.call("protect_request", "client", GET, [PATH], "")
    got = board.call("unprotect_request", "server", options, payload)[3]
    notification = board.call("protect_response", "server", got, CONTENT, [[OBSERVE, "05"]], "")[1:]
    answers = [board.call("protect_response", "server", got, CONTENT, [], "aa")[1:] for _ in range(2)]
    assert refusal(board, "unprotect_response", "client", asked, *notification) == "ResponseRefusedError"
    assert board.call("unprotect_response", "client", asked, *answers[0])[2] == "aa"
    assert refusal(board, "unprotect_response", "client", asked, *answers[1]) == "ResponseRefusedError"


def test_a_response_belongs_to_its_request(board: Board) -> None:
    pair(board, fresh=True)
    first = board.call("protect_request", "client", GET, [PATH], "")
    second = board.call("protect_request", "client", GET, [PATH], "")
    got = board.call("unprotect_request", "server", *second[1:3])[3]
    for answer in (board.call("protect_response", "server", got, CONTENT, [], "aa")[1:] for _ in range(2)):
        assert refusal(board, "unprotect_response", "client", first[3], *answer) == "DecryptionError"


def test_contexts_are_found_by_kid_and_kid_context(board: Board) -> None:
    board.call("open_context", "one", SECRET, "", "aa", "02", "01", 0, True)
    board.call("open_context", "two", SECRET, "", "bb", "02", "01", 0, True)
    for kid_context, found in (("aa", "one"), ("bb", "two")):
        option = board.call("option_encode", "05", "01", kid_context)
        assert board.call("find_context", ["one", "two"], [[OSCORE, option]]) == [found]
        other = {"one": "two", "two": "one"}[found]
        assert refusal(board, "unprotect_request", other, [[OSCORE, option]], "00" * 9) == "ContextNotFoundError"
    stranger = board.call("option_encode", "05", "03", None)
    assert refusal(board, "find_context", ["one", "two"], [[OSCORE, stranger]]) == "ContextNotFoundError"
    nameless = board.call("option_encode", "05", None, None)
    assert refusal(board, "find_context", ["one", "two"], [[OSCORE, nameless]]) == "DecodeError"
    assert refusal(board, "find_context", ["one", "two"], [PATH]) == "DecodeError"


@pytest.mark.parametrize("options", [[[OSCORE, ""]], [[35, b"coap://x/y".hex()]], [PATH, [4, "01"]]])
def test_what_cannot_be_protected_is_refused_without_using_a_number(board: Board, options: list[list[object]]) -> None:
    pair(board, fresh=True)
    assert refusal(board, "protect_request", "client", GET, options, "") == "NotProtectableError"
    _, outer, _, _ = board.call("protect_request", "client", GET, [PATH], "")
    assert board.call("option_decode", dict(outer)[OSCORE])[0] == "00"
