"""A MicroPython VM that stays up between calls, so that a property test costs microseconds a case, not a start."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[3]
FIRMWARE = ROOT / "firmware"
HERE = Path(__file__).resolve().parent
ANSWER_LIMIT_S = 30.0


def micropython() -> str | None:
    """Return the path of the VM that belongs to this Python environment, if it is there."""
    path = Path(sys.executable).parent / "micropython"
    return str(path) if path.exists() else None


def board_command(script: Path, *arguments: str, heap: str = "128k") -> list[str]:
    """Return the command that runs a script on the VM with the node's heap."""
    return [str(micropython()), "-X", f"heapsize={heap}", str(script), *arguments]


def board_environment() -> dict[str, str]:
    """Return the environment in which the VM finds the firmware, what its tests share, and, frozen, its own modules."""
    return {**os.environ, "MICROPYPATH": f"{FIRMWARE}:{HERE.parent}:.frozen"}


class BoardError(Exception):
    """The board answered with an error; `kind` is the exception's name there."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Board:
    """`board_driver.py` on the VM; use as a context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            board_command(HERE / "board_driver.py", heap="512k"),  # the JSON of the calls needs more than the node
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=board_environment(),
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=ANSWER_LIMIT_S)
        self._process.stdout.close()

    def call(self, operation: str, *arguments: Any) -> Any:
        """Call a function of the driver.

        Raises:
            BoardError: The function raised; the board goes on.
            TimeoutError: The board hangs.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([operation, *arguments]) + "\n")
        self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(ANSWER_LIMIT_S):
                self._process.kill()
                raise TimeoutError(f"no answer to {operation} within {ANSWER_LIMIT_S} s")
        line = self._process.stdout.readline()
        if not line.startswith("{"):
            raise RuntimeError(f"the board died in {operation}: {line}{self._process.stdout.read()}")
        answer = json.loads(line)
        if "error" in answer:
            raise BoardError(answer["error"], answer["text"])
        return answer["ok"]
