"""Who does what a board cannot do itself: presses, warms, looks. A person at the terminal, or a jig with prepared answers."""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import typer

from andon_workbench.node.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

_PULSES: Final = re.compile(r"(\d{1,6})(\+?)")
_WAIT_S: Final = 60.0
_MAX_WAIT_S: Final = 3600.0
_LOOK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Pulses:
    """How many pulses were given: exactly, or at least (a machine that runs by itself)."""

    count: int
    or_more: bool = False

    @classmethod
    def parse(cls, text: str) -> Pulses:
        """Read `5` or `5+`.

        Raises:
            NodeError: it is neither.
        """
        match = _PULSES.fullmatch(text.strip())
        if match is None:
            raise NodeError(f"{text}: expected a number of pulses such as 5, or 5+ for at least 5")
        return cls(int(match[1]), bool(match[2]))

    def fit(self, counted: int) -> bool:
        """Whether so many is what was given."""
        return counted >= self.count if self.or_more else counted == self.count

    def __str__(self) -> str:
        return f"at least {self.count}" if self.or_more else str(self.count)


class Person(Protocol):
    """The one who acts and looks."""

    def confirm(self, name: str, question: str) -> bool:
        """Answer a question with yes or no."""

    def act(self, name: str, request: str, done: Callable[[], bool]) -> None:
        """Do something at the machine; return when it is done, or when there was time enough."""

    def pulses(self, name: str, request: str, counted: Callable[[], int]) -> Pulses:
        """Give pulses and say how many."""


@contextmanager
def _interruptible() -> Generator[None]:
    """Click turns Ctrl-C and the end of the input into its own exception; both mean that the person has left."""
    try:
        yield
    except typer.Abort:
        raise KeyboardInterrupt from None


class AtTerminal:
    """A person who reads and types."""

    def confirm(self, name: str, question: str) -> bool:
        """Ask for y or n."""
        with _interruptible():
            return typer.confirm(f"{name}: {question}")

    def act(self, name: str, request: str, done: Callable[[], bool]) -> None:  # noqa: ARG002  who looks says when it is done
        """Ask, and wait for Enter."""
        with _interruptible():
            typer.prompt(f"{name}: {request}, then press Enter", default="", show_default=False)

    def pulses(self, name: str, request: str, counted: Callable[[], int]) -> Pulses:  # noqa: ARG002  same
        """Ask, and take the number that was given."""
        while True:
            with _interruptible():
                answer = typer.prompt(f"{name}: {request}; how many did you give? (5+: at least 5)", default="5")
            try:
                return Pulses.parse(str(answer))
            except NodeError as error:
                typer.echo(str(error), err=True)


class Prepared:
    """Answers from a file, for a jig or a test that watches standard output and acts (hardware/README.md).

    Each request is one line `do: NAME: what`; then the board is watched until it has happened or `wait_s` is over.
    """

    def __init__(self, answers: dict[str, Any], *, sleep: Callable[[float], None] = time.sleep) -> None:
        known = {"isolated", "wait_s", "outputs", "pulses", "readings"}
        unknown = sorted(set(answers) - known)
        if unknown:
            raise NodeError(f"--answers: no such key: {unknown[0]}; known are {', '.join(sorted(known))}")
        self._answers = answers
        wait_s = answers.get("wait_s", _WAIT_S)
        if isinstance(wait_s, bool) or not isinstance(wait_s, int | float) or not 0 < wait_s <= _MAX_WAIT_S:
            raise NodeError(f"--answers: wait_s: expected seconds up to {_MAX_WAIT_S:g}")
        self._wait_s = float(wait_s)
        self._sleep = sleep

    @classmethod
    def load(cls, path: Path) -> Prepared:
        """Read the file.

        Raises:
            NodeError: it is not there or not usable.
        """
        try:
            answers = json.loads(path.read_text())
        except OSError as error:
            raise NodeError(f"--answers {path}: {error.strerror}") from error
        except ValueError as error:
            raise NodeError(f"--answers {path}: expected JSON: {error}") from error
        if not isinstance(answers, dict):
            raise NodeError(f"--answers {path}: expected a JSON object")
        return cls(answers)

    def confirm(self, name: str, question: str) -> bool:
        """Take the prepared answer."""
        self._say(f"ask: {name}: {question}")
        if name == "isolated":
            answer = self._answers.get(name)
        elif name.startswith("relay/"):
            answer = self._section("outputs").get(name)
        else:
            # A thermometer is asked about only when it was not warmed.
            answer = self._section("readings").get(name, False if name.startswith("temperature/") else None)
        if not isinstance(answer, bool):
            raise NodeError(f"--answers: {name}: expected true or false for: {question}")
        return answer

    def act(self, name: str, request: str, done: Callable[[], bool]) -> None:
        """Say what is to be done, and watch until it is."""
        self._say(f"do: {name}: {request}")
        self._watch(done)

    def pulses(self, name: str, request: str, counted: Callable[[], int]) -> Pulses:
        """Say that pulses are wanted, and watch until they have come and no more come."""
        answer = self._section("pulses").get(name)
        if isinstance(answer, bool) or not isinstance(answer, int | str):
            raise NodeError(f"--answers: pulses: {name}: expected the number of pulses, such as 5 or 5+")
        given = Pulses.parse(str(answer))
        self._say(f"do: {name}: {request}")
        self._watch(lambda: counted() >= given.count)
        return given

    def _section(self, name: str) -> dict[str, Any]:
        section = self._answers.get(name, {})
        if not isinstance(section, dict):
            raise NodeError(f"--answers: {name}: expected an object")
        return section

    def _watch(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + self._wait_s
        while not done() and time.monotonic() < end:
            self._sleep(_LOOK_S)

    @staticmethod
    def _say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
