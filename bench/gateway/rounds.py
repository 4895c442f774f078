"""Servers in turns, A B C D, D C B A: where the machine's clock drifts within minutes, it drifts for all of them alike."""

from __future__ import annotations

import contextlib
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Final, TypeVar

from bench.gateway.load import LoadError
from bench.gateway.peers import PeerMissingError
from bench.gateway.processes import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from bench.gateway.costs import Rig, Subject

    Entrant = Callable[[Rig], AbstractContextManager[Subject]]
    """Starts a server, warms it up, and stops it at the end."""
    Window = Callable[[Rig, Subject], float]
    """Loads a server for a while; gives the CPU per message, in microseconds."""
    Figures = dict[str, list[float]]
    """By server, one figure for each round; none where there is no figure at all."""

ROUNDS: Final = 12
T = TypeVar("T")


def attempt(rig: Rig, what: str, measure: Callable[[], T]) -> T | None:
    """Measure; where that cannot be, nothing is found and the reason is printed."""
    try:
        return measure()
    except (PeerMissingError, ServerError, LoadError, OSError) as error:
        rig.say(f"{what}: null, since {error}")
        return None


def compare(
    rig: Rig, entrants: Mapping[str, Entrant], windows: Mapping[str, Window], rounds: int = ROUNDS
) -> dict[str, Figures]:
    """Start all servers, then load them in turns; idle ones cost nothing.

    Args:
        rig: The run.
        entrants: By name.
        windows: By kind of load; all rounds of one come before the next.
        rounds: How often each server has its turn, with each kind.

    Returns:
        By kind, then by server. A server that fails once has no figure.
    """
    found: dict[str, Figures] = {kind: {} for kind in windows}
    with contextlib.ExitStack() as stack:
        running: dict[str, Subject] = {}
        for name, start in entrants.items():
            subject = attempt(rig, name, partial(_enter, stack, start, rig))
            if subject is not None:
                running[name] = subject
                rig.running.extend(subject.servers)
        for kind, window in windows.items():
            for turn in range(rounds):
                # Back and forth, so that nobody always comes after the one that leaves the processor hot.
                for name in list(running)[:: -1 if turn % 2 else 1]:
                    figure = attempt(rig, name, partial(window, rig, running[name]))
                    if figure is None:
                        del running[name]
                    else:
                        found[kind].setdefault(name, []).append(figure)
        for name, subject in list(running.items()):
            if attempt(rig, name, partial(_conclude, subject)) is None:
                del running[name]
    rig.running.clear()
    return {kind: {name: figures[name] for name in running} for kind, figures in found.items()}


def _enter(stack: contextlib.ExitStack, start: Entrant, rig: Rig) -> Subject:
    return stack.enter_context(start(rig))


def _conclude(subject: Subject) -> bool:
    subject.check(subject.sent)
    return True


def middle(figures: Sequence[float] | None) -> float | None:
    """The median; None where there is none."""
    return median(figures) if figures else None


def spread(figures: Sequence[float] | None) -> dict[str, float] | None:
    """The least and the largest."""
    return {"min": min(figures), "max": max(figures)} if figures else None


def report(rig: Rig, kind: str, figures: Figures, own: str) -> None:
    """Print the rounds: each server's figures, and round by round what part of it `own` costs."""
    for name, series in figures.items():
        text = f"{kind}, {name}: median {median(series):.1f}, from {min(series):.1f} to {max(series):.1f} us/message in {len(series)} rounds"
        if name != own and own in figures:
            shares = [mine / other for mine, other in zip(figures[own], series, strict=True)]
            text += f"; {own} costs {median(shares):.3f} of it, from {min(shares):.3f} to {max(shares):.3f}"
        rig.say(text)
