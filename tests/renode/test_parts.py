"""Finding Renode and the board's image, and what is said when they are not there."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import httpx
import pytest

from andon_workbench.errors import MissingPartError
from andon_workbench.rungs.renode import parts
from andon_workbench.rungs.renode.errors import RenodeError

if TYPE_CHECKING:
    from pathlib import Path

NAME = "NUCLEO_F429ZI-20260101-v1.28.0.hex"
DATA = b":020000040800F2\n"
HASH = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def _nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RENODE", "ANDON_BOARD_IMAGE", "ANDON_RENODE_CONTAINER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "bin").mkdir()


def executable(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)


def test_renode_by_variable_path_or_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingPartError, match="docker pull antmicro/renode"):
        parts.find_renode(tmp_path)
    executable(tmp_path / "bin/docker", '[ "$3" = antmicro/renode:1.15.1 ]')
    found = parts.find_renode(tmp_path)
    assert found.container
    assert found.words[:2] == ("docker", "run")
    assert f"--volume={tmp_path}:{tmp_path}" in found.words
    executable(tmp_path / "bin/docker", "exit 1")
    with pytest.raises(MissingPartError):
        parts.find_renode(tmp_path)
    executable(tmp_path / "bin/renode", "true")
    assert parts.find_renode(tmp_path) == parts.RenodeProgram((str(tmp_path / "bin/renode"),))
    executable(tmp_path / "mine", "true")
    monkeypatch.setenv("RENODE", str(tmp_path / "mine"))
    assert parts.find_renode(tmp_path).words == (str(tmp_path / "mine"),)
    monkeypatch.setenv("RENODE", str(tmp_path / "nothing"))
    with pytest.raises(MissingPartError, match="not a program"):
        parts.find_renode(tmp_path)


def test_image_by_variable_or_the_newest_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingPartError, match="andon board renode image"):
        parts.find_image()
    folder = tmp_path / "cache/andon/images"
    folder.mkdir(parents=True)
    for name in ("NUCLEO_F429ZI-20250101-v1.26.0.hex", NAME, "OTHER-20270101-v1.28.0.hex"):
        (folder / name).write_bytes(DATA)
    assert parts.find_image() == folder / NAME
    monkeypatch.setenv("ANDON_BOARD_IMAGE", str(tmp_path / "gone.hex"))
    with pytest.raises(MissingPartError, match="no such file"):
        parts.find_image()


def test_a_hash_is_never_guessed(tmp_path: Path) -> None:
    pins = tmp_path / "images.toml"
    pins.write_text("[NUCLEO_F429ZI]\n")
    with pytest.raises(RenodeError, match=r"not in images\.toml; name it with --sha256"):
        parts.pinned_hash(NAME, pins, None)
    assert parts.pinned_hash(NAME, pins, HASH) == HASH
    pins.write_text(f'[NUCLEO_F429ZI]\n"{NAME}" = "{HASH}"\n')
    assert parts.pinned_hash(NAME, pins, None) == HASH
    with pytest.raises(RenodeError, match="not the committed one"):
        parts.pinned_hash(NAME, pins, "0" * 64)
    with pytest.raises(RenodeError, match="64 hexadecimal digits"):
        parts.pinned_hash(NAME, pins, "abc")
    with pytest.raises(RenodeError, match="expected the name of an official image"):
        parts.pinned_hash("../../etc/passwd", pins, HASH)


def test_line_to_pin_is_what_the_next_download_reads(tmp_path: Path) -> None:
    pins = tmp_path / "images.toml"
    pins.write_text("[NUCLEO_F429ZI]\n")
    line = parts.line_to_pin(NAME, HASH, pins)
    pins.write_text(f"[NUCLEO_F429ZI]\n{line}\n")
    assert parts.pinned_hash(NAME, pins, None) == HASH
    assert parts.line_to_pin(NAME, HASH, pins) is None


def client(answer: httpx.Response | Exception) -> httpx.Client:
    def handle(request: httpx.Request) -> httpx.Response:
        assert str(request.url).endswith(f"/{NAME}")
        if isinstance(answer, Exception):
            raise answer
        return answer

    return httpx.Client(transport=httpx.MockTransport(handle))


def test_download_is_checked_and_kept() -> None:
    seen: list[tuple[int, int]] = []
    path = parts.download_image(
        NAME, HASH, lambda *done: seen.append(done), client=client(httpx.Response(200, content=DATA))
    )
    assert path.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert parts.find_image() == path


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(200, content=b"other"), "SHA-256 is .* not kept"),
        (httpx.Response(404), "answers 404; is the name right"),
        (httpx.ConnectError("no route"), "not reached .no route.; without network"),
    ],
)
def test_what_is_wrong_is_not_kept(answer: httpx.Response | Exception, said: str) -> None:
    with pytest.raises(RenodeError, match=said):
        parts.download_image(NAME, HASH, lambda *_: None, client=client(answer))
    assert list(parts.image_folder().iterdir()) == []
