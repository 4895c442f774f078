"""One accelerated clock for every process of the soak: fast_clock.c, compiled on the spot and preloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from andon_workbench.errors import ComponentError, MissingPartError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SOURCE = Path(__file__).with_name("fast_clock.c")
_SETTING = "ANDON_FAST_CLOCK"
_TURNS = "ANDON_FAST_CLOCK_TURNS"
_LIBRARY = "fast_clock.so"
_COMPILE_LIMIT_S = 60
_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class FastClock:
    """How fast time runs, and where it began; `monotonic_ns` and `realtime_ns` are the same instant."""

    rate: int
    monotonic_ns: int
    realtime_ns: int

    def epoch_ms(self, monotonic_us: int) -> float:
        """The epoch of an instant of CLOCK_MONOTONIC: both run at the same rate from the same beginning."""
        return (self.realtime_ns + monotonic_us * 1000 - self.monotonic_ns) / _MS


def find_compiler() -> str | None:
    """Path of the C compiler, if this is a Linux that has one."""
    return shutil.which("cc") if sys.platform == "linux" else None


def build(folder: Path) -> Path:
    """Compile the library into `folder`, which `remove` later removes.

    Raises:
        MissingPartError: there is no C compiler.
        ComponentError: it does not compile.
    """
    compiler = find_compiler()
    if compiler is None:
        raise MissingPartError("the soak's fast clock needs Linux and a C compiler; get one with: make deps-test")
    library = folder / _LIBRARY
    done = subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", library, _SOURCE, "-ldl"],
        capture_output=True,
        text=True,
        timeout=_COMPILE_LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise ComponentError(f"{_SOURCE.name} does not compile: {done.stderr.strip()}")
    return library


def environment(library: Path, rate: int, tick_ms: int, turns: Path | None = None) -> dict[str, str]:
    """What a process needs in its environment to live, with all its children, at `rate` from now on.

    `tick_ms` of the fast clock is the least that poll(2) waits, see fast_clock.c; into the folder `turns` it writes the turns.
    """
    setting = f"{rate} {time.monotonic_ns()} {time.time_ns()} {tick_ms * _MS}"
    told = {} if turns is None else {_TURNS: str(turns)}
    return {_SETTING: setting, "LD_PRELOAD": str(library), **told}


def enter(arguments: Sequence[str], settings: Mapping[str, str]) -> NoReturn:
    """Become `arguments` in this environment: same process, other clock."""
    os.execve(sys.executable, [sys.executable, *arguments], {**os.environ, **settings})  # noqa: S606  no shell wanted


def current() -> FastClock | None:
    """The fast clock on which this process runs, None on the real one."""
    words = os.environ.get(_SETTING, "").split()
    return FastClock(int(words[0]), int(words[1]), int(words[2])) if words else None


def turns_folder() -> Path | None:
    """Where processes tell of their turns, each in a file named by its process id; None where they do not."""
    folder = os.environ.get(_TURNS)
    return None if folder is None else Path(folder)


def remove() -> None:
    """Remove the library's folder when no more processes will be started."""
    library = Path(os.environ.get("LD_PRELOAD", ""))
    if library.name == _LIBRARY:
        shutil.rmtree(library.parent, ignore_errors=True)
