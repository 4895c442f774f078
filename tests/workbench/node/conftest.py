"""An emulated board on a serial port, started as an integrator starts it: `andon node emulate`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from typer.testing import CliRunner

from andon_workbench.checkout import find_checkout
from andon_workbench.cli import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

ANDON = Path(sys.executable).with_name("andon")
MPREMOTE = Path(sys.executable).with_name("mpremote")


@pytest.fixture(scope="session", autouse=True)
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the firmware as it is now: somebody may be editing the checkout while the tests run."""
    home = tmp_path_factory.mktemp("checkout")
    shutil.copytree(
        find_checkout().firmware, home / "firmware", ignore=shutil.ignore_patterns("__pycache__", ".*_cache")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDON_HOME", str(home))
        yield home


class Bench:
    """The process that runs the board; its flash outlives it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.flash = folder / "flash.img"
        self.console = folder / "console.log"
        self.port = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.plug_in()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()

    def plug_in(self) -> None:
        self._process = subprocess.Popen(
            [ANDON, "node", "emulate", self.folder], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        ready = dict(word.split("=", 1) for word in self._process.stdout.readline().split()[1:])
        self.port = ready["port"]

    def unplug(self) -> None:
        """Pull the cable: the port vanishes and the board loses its power (its process dies with its supervisor)."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=60)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def mpremote(self, *words: str, timeout: float = 100) -> str:
        done = subprocess.run(
            [MPREMOTE, "connect", self.port, *words], capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One board for a module; what a test leaves on it must not matter to the next."""
    with Bench(tmp_path_factory.mktemp("bench")) as board:
        yield board


@pytest.fixture
def own_bench(tmp_path: Path) -> Iterator[Bench]:
    """A blank board of one's own."""
    with Bench(tmp_path / "own") as board:
        yield board


@pytest.fixture
def andon(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run `andon node ...` in this process; gives exit status and everything that was said."""
    monkeypatch.delenv("ANDON_NODE_PORT", raising=False)

    def run(*words: str | Path, **environment: str) -> tuple[int, str]:
        result = CliRunner().invoke(
            app, ["node", *map(str, words)], env={"COLUMNS": "200", "TERM": "dumb", **environment}
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    return run
