"""The order of turns, what a server that fails leaves behind, and the arithmetic of rounds."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.gateway.costs import Rig, Subject
from bench.gateway.load import LoadError
from bench.gateway.peers import PeerMissingError
from bench.gateway.rounds import compare, middle, report, spread

if TYPE_CHECKING:
    from collections.abc import Iterator


class Course:
    """Servers that exist in name only; what happened to them, in its order."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.events: list[str] = []
        self.rig = Rig(Path(), (0, 1), 1.0, 1, self.said.append)
        self.fails: set[str] = set()

    def server(self, name: str, sent: int = 0) -> Any:
        @contextmanager
        def start(_rig: Rig) -> Iterator[Subject]:
            if f"start {name}" in self.fails:
                raise PeerMissingError(f"{name} is not on this machine")
            self.events.append(f"start {name}")
            try:
                yield Subject(name, [], [], check=lambda count: self._check(name, count), sent=sent)
            finally:
                self.events.append(f"stop {name}")

        return start

    def _check(self, name: str, count: int) -> None:
        if f"check {name}" in self.fails:
            raise LoadError(f"{count} messages, not counted")

    def window(self, kind: str) -> Any:
        def run(_rig: Rig, subject: Subject) -> float:
            self.events.append(f"{kind} {subject.name}")
            turn = self.events.count(f"{kind} {subject.name}")
            if f"{kind} {subject.name} {turn}" in self.fails:
                raise LoadError("answered nothing")
            return turn * 10.0 + ord(subject.name)

        return run


@pytest.fixture
def course() -> Course:
    return Course()


def test_servers_take_turns_back_and_forth(course: Course) -> None:
    entrants = {name: course.server(name) for name in "AB"}
    found = compare(course.rig, entrants, {"full": course.window("full"), "paced": course.window("paced")}, 2)
    assert course.events == [
        "start A", "start B", "full A", "full B", "full B", "full A", "paced A", "paced B", "paced B", "paced A",
        "stop B", "stop A",
    ]  # fmt: skip
    assert found == {"full": {"A": [75.0, 85.0], "B": [76.0, 86.0]}, "paced": {"A": [75.0, 85.0], "B": [76.0, 86.0]}}


def test_a_server_that_fails_has_no_figure_and_the_others_have_theirs(course: Course) -> None:
    course.fails = {"start A", "full B 2", "check C"}
    entrants = {name: course.server(name, sent=7) for name in "ABCD"}
    found = compare(course.rig, entrants, {"full": course.window("full"), "paced": course.window("paced")}, 2)
    assert found == {"full": {"D": [78.0, 88.0]}, "paced": {"D": [78.0, 88.0]}}
    assert "paced B" not in course.events
    assert course.events[-3:] == ["stop D", "stop C", "stop B"]
    assert [line.partition(":")[0] for line in course.said] == ["A", "B", "C"]
    assert "7 messages, not counted" in course.said[2]


def test_the_figure_is_the_median_and_ratios_are_taken_round_by_round(course: Course) -> None:
    figures = [3.0, 50.0, 1.0, 2.0, 9.0]
    assert (middle(figures), spread(figures)) == (3.0, {"min": 1.0, "max": 50.0})
    assert (middle([7.0]), middle(None), spread(None), middle([])) == (7.0, None, None, None)
    report(course.rig, "plain", {"andon": [10.0, 20.0, 30.0], "peer": [40.0, 100.0, 90.0]}, "andon")
    assert course.said == [
        "plain, andon: median 20.0, from 10.0 to 30.0 us/message in 3 rounds",
        "plain, peer: median 90.0, from 40.0 to 100.0 us/message in 3 rounds; andon costs 0.250 of it, from 0.200 to 0.333",
    ]
