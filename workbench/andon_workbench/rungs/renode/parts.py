"""Finding what the Renode rung needs: Renode itself, and MicroPython's image for the board."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from andon_workbench.errors import MissingPartError
from andon_workbench.rungs.renode.errors import RenodeError

if TYPE_CHECKING:
    from collections.abc import Callable

BOARD: Final = "NUCLEO_F429ZI"
RENODE: Final = "RENODE"
IMAGE: Final = "ANDON_BOARD_IMAGE"
CONTAINER: Final = "ANDON_RENODE_CONTAINER"
_CONTAINER_DEFAULT: Final = "antmicro/renode:1.15.1"
_PAGE: Final = f"https://micropython.org/download/{BOARD}/"
_SITE: Final = "https://micropython.org/resources/firmware/"
_NAME: Final = re.compile(rf"{BOARD}-\d{{8}}-v\d+\.\d+\.\d+\.hex")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_TIMEOUT_S: Final = 20.0
# The official images have less than 2 MB as text.
_MAX_BYTES: Final = 8_000_000


@dataclass(frozen=True, slots=True)
class RenodeProgram:
    """How Renode is started: words of a command line; in a container its ptys are out of reach, and ports are used."""

    words: tuple[str, ...]
    container: bool = False


def find_renode(shared: Path) -> RenodeProgram:
    """Find Renode: `RENODE` in the environment, `renode` on PATH, or its container image if that is on this machine.

    Args:
        shared: Folder that Renode has to see under the same name.

    Raises:
        MissingPartError: none of the three.
    """
    named = os.environ.get(RENODE)
    if named:
        if not shutil.which(named):
            raise MissingPartError(f"{RENODE}={named}: not a program")
        return RenodeProgram((named,))
    if on_path := shutil.which("renode"):
        return RenodeProgram((on_path,))
    image = os.environ.get(CONTAINER, _CONTAINER_DEFAULT)
    if _has_image(image):
        mount = f"{shared}:{shared}"
        options = ["--rm", "--interactive", "--network=host", "--cap-add=NET_ADMIN", "--device=/dev/net/tun"]
        return RenodeProgram(("docker", "run", *options, f"--volume={mount}", image, "renode"), container=True)
    raise MissingPartError(
        f"Renode is missing: put renode 1.15 on PATH, name it with {RENODE}=/path/to/renode, or: docker pull {image}"
    )


def find_image() -> Path:
    """Find MicroPython's image: `ANDON_BOARD_IMAGE` in the environment, else the newest that was downloaded.

    Raises:
        MissingPartError: there is none.
    """
    named = os.environ.get(IMAGE)
    if named:
        if not Path(named).is_file():
            raise MissingPartError(f"{IMAGE}={named}: no such file")
        return Path(named).resolve()
    kept = sorted(image_folder().glob(f"{BOARD}-*.hex"), key=lambda path: path.name)
    if not kept:
        raise MissingPartError(
            f"MicroPython's image for {BOARD} is missing: name one with {IMAGE}=FILE.hex, or choose one on {_PAGE} and "
            f"download it with: andon board renode image {BOARD}-YYYYMMDD-vX.Y.Z.hex --sha256 HASH"
        )
    return kept[-1]


def image_folder() -> Path:
    """Where downloaded images are kept."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "andon" / "images"


def pinned_hash(name: str, pins: Path, given: str | None) -> str:
    """The SHA-256 that a download must have: the committed one, or the one given; both must agree.

    Raises:
        RenodeError: there is none, it is none, or the two differ.
    """
    if not _NAME.fullmatch(name):
        raise RenodeError(f"{name}: expected the name of an official image, such as {BOARD}-YYYYMMDD-vX.Y.Z.hex")
    known = tomllib.loads(pins.read_text()).get(BOARD, {}).get(name)
    if given is not None and not _HASH.fullmatch(given):
        raise RenodeError("--sha256: expected 64 hexadecimal digits")
    if known is not None and given is not None and known != given:
        raise RenodeError(f"{name}: --sha256 is not the committed one ({pins.name}): which of the two is wrong?")
    wanted = known or given
    if wanted is None:
        raise RenodeError(
            f"{name}: its SHA-256 is not in {pins.name}; name it with --sha256, from a source that you trust other than "
            "the download itself: a colleague's copy of the file, or sha256sum of one that came over another network"
        )
    return str(wanted)


def line_to_pin(name: str, wanted: str, pins: Path) -> str | None:
    """What to add to the committed hashes after a good download with a given hash; None when it is there."""
    if name in tomllib.loads(pins.read_text()).get(BOARD, {}):
        return None
    return f'"{name}" = "{wanted}"'


def download_image(
    name: str, wanted: str, progress: Callable[[int, int], None], *, client: httpx.Client | None = None
) -> Path:
    """Download an image from MicroPython's site, check it, keep it.

    Args:
        name: The file's name on the site.
        wanted: Its SHA-256.
        progress: Told bytes done and bytes in all (0: not known).
        client: For tests; by default one of its own.

    Raises:
        RenodeError: no network, no such file, or another hash; nothing is kept then.
    """
    folder = image_folder()
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{name}.part"
    digest = hashlib.sha256()
    done = 0
    try:
        with (
            client or httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True) as http,
            http.stream("GET", _SITE + name) as answer,
            part.open("wb") as file,
        ):
            answer.raise_for_status()
            total = int(answer.headers.get("Content-Length", 0))
            for chunk in answer.iter_bytes():
                done += len(chunk)
                if done > _MAX_BYTES:
                    raise RenodeError(f"{name}: larger than any image; not kept")
                digest.update(chunk)
                file.write(chunk)
                progress(done, total)
        if digest.hexdigest() != wanted:
            raise RenodeError(f"{name}: SHA-256 is {digest.hexdigest()}, expected {wanted}; not kept")
        return part.replace(folder / name)
    except httpx.HTTPStatusError as error:
        raise RenodeError(f"{_SITE}{name}: answers {error.response.status_code}; is the name right?") from error
    except httpx.HTTPError as error:
        raise RenodeError(
            f"{_SITE}: not reached ({error}); without network put the file on this machine and name it with {IMAGE}=FILE.hex"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _has_image(image: str) -> bool:
    if shutil.which("docker") is None:
        return False
    try:
        done = subprocess.run(
            ["docker", "image", "inspect", image], capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
