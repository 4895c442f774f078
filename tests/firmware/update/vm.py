"""`board_updates.py` on the MicroPython VM, and bundles to feed it with."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from andon_workbench.bundle.format import Bundle
from andon_workbench.bundle.keys import sign

ROOT = Path(__file__).resolve().parents[3]
FIRMWARE = ROOT / "firmware"
SCRIPT = Path(__file__).resolve().parent / "board_updates.py"
ANSWER_LIMIT_S = 60.0
SITE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SITE_KEY_HEX = SITE_KEY.public_key().public_bytes_raw().hex()


def micropython() -> Path | None:
    """The VM that belongs to this Python environment, if it is there."""
    path = Path(sys.executable).with_name("micropython")
    return path if path.exists() else None


def small_files(version: str, count: int = 4, size: int = 1500) -> dict[str, bytes]:
    """Files as a bundle has them, quick to transfer; the content says the version."""
    return {
        f"andon_node/part{number}.mpy": (f"{version}/{number} ".encode() * size)[: size + 37 * number]
        for number in range(count)
    }


def small_bundle(version: str, **fields: Any) -> Bundle:
    """A signed bundle of small files."""
    return sign(Bundle(**{"version": version, "files": small_files(version), **fields}), SITE_KEY)


class UpdateBoard:
    """The VM with one flash; use as a context manager."""

    def __init__(self, folder: Path, heap: str = "1m") -> None:
        self.folder = folder
        self._heap = heap
        self._bundles = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [str(micropython()), "-X", f"heapsize={self._heap}", SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "MICROPYPATH": f"{FIRMWARE}:{FIRMWARE / 'sim'}:.frozen"},
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=ANSWER_LIMIT_S)
        self._process.stdout.close()

    def call(self, operation: str, *arguments: Any, **options: Any) -> Any:
        """Call an operation of the board.

        Raises:
            RuntimeError: it failed there.
            TimeoutError: the board hangs.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([operation, arguments, options]) + "\n")
        self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(ANSWER_LIMIT_S):
                self._process.kill()
                raise TimeoutError(f"no answer to {operation}")
        while True:
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"the board died in {operation}")
            if line.startswith('{"'):
                break
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{operation}: {answer['error']}")
        return answer["ok"]

    def fresh(self, blocks: int = 64, key: str | None = SITE_KEY_HEX) -> None:
        """A new flash with the site's key, started once."""
        self.call("format", str(self.folder / "flash.img"), blocks)
        if key is not None:
            self.call("write", "site_key.hex", key)
        assert self.call("start") == ""

    def file(self, bundle: Bundle | bytes) -> str:
        """Put a bundle where the stand-in of the gateway finds it."""
        self._bundles += 1
        path = self.folder / f"bundle-{self._bundles}.fw"
        path.write_bytes(bundle if isinstance(bundle, bytes) else bundle.encode())
        return str(path)

    def slot_files(self, slot: str) -> dict[str, bytes]:
        """The files of a slot, as a bundle names them."""
        return {
            path.removeprefix(f"{slot}/"): bytes.fromhex(self.call("read", path))
            for path, _ in self.call("tree")
            if path.startswith(f"{slot}/andon_node/")
        }
