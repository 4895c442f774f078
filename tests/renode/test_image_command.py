"""`andon board renode image` as a person meets it who has no committed hash: refused with advice, shown, pinned. The site is a server here."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from andon_workbench.rungs.cli import app
from andon_workbench.rungs.renode import parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "NUCLEO_F429ZI-20260101-v1.28.0.hex"
DATA = b":020000040800F2\n" * 1000
HASH = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """MicroPython's site cannot be reached from a test: what it would be asked for, from a server on loopback."""
    paths: list[str] = []

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            self.wfile.write(DATA)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Site)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    serving.start()
    monkeypatch.setattr(parts, "_SITE", f"http://127.0.0.1:{server.server_address[1]}/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("ANDON_BOARD_IMAGE", raising=False)
    yield paths
    server.shutdown()
    serving.join()
    server.server_close()


def said(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["renode", "image", *words], env={"COLUMNS": "200", "TERM": "dumb"})
    return result.exit_code, " ".join(result.output.split())


def test_without_any_hash_nothing_is_downloaded(asked: list[str]) -> None:
    code, text = said(NAME)
    assert code == 2
    assert "name it with --sha256, from a source that you trust other than the download itself" in text
    assert asked == []


def test_with_another_hash_the_downloads_own_is_shown_and_nothing_kept() -> None:
    code, text = said(NAME, "--sha256", "0" * 64)
    assert code == 2
    assert f"SHA-256 is {HASH}, expected {'0' * 64}; not kept" in text
    assert list(parts.image_folder().iterdir()) == []


def test_a_good_one_is_shown_kept_and_can_be_pinned(asked: list[str]) -> None:
    code, text = said(NAME, "--sha256", HASH)
    assert code == 0, text
    assert f"{NAME}: SHA-256 {HASH}, as expected" in text
    assert f'to pin it for everybody, add to [NUCLEO_F429ZI] in renode/images.toml: "{NAME}" = "{HASH}"' in text
    assert asked == [f"/{NAME}"]
    assert parts.find_image().read_bytes() == DATA
