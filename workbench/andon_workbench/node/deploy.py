"""`andon node deploy`: the firmware onto a board, only what changed, all of it checked before any of it is active."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from andon_workbench.bundle.build import ROOT_FILES
from andon_workbench.node.errors import NodeError, VerifyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from andon_workbench.node.bundle import Bundle
    from andon_workbench.node.link import BoardLink

_STAGE: Final = ".stage"
# littlefs needs room to move: what is free must exceed what is copied by this.
_SPARE_BYTES: Final = 32_768
_BOOT_LIMIT_S: Final = 30.0

# SHA-256 and path of files, a line each: a long text at once would need memory in one piece.
_LIST: Final = """\
import os, hashlib, binascii
def _andon_hash(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            part = file.read(1024)
            if not part:
                break
            digest.update(part)
    print(binascii.hexlify(digest.digest()).decode(), path)
    _andon_feed()
def _andon_walk(folder):
    for name, kind, *_ in os.ilistdir(folder):
        (_andon_walk if kind == 0x4000 else _andon_hash)(folder + "/" + name)
def _andon_list(folders, files):
    for name, kind, *_ in os.ilistdir(_andon_root):
        if kind == 0x4000 and name in folders:
            _andon_walk(name)
        elif kind != 0x4000 and name in files:
            _andon_hash(name)
os.chdir(_andon_root)
"""

# Moves the staged files to their places and removes what is no longer part of the firmware. A slot that an update over the
# network had chosen gives way to what was just put on.
_COMMIT: Final = """\
import os
def _andon_folders(path):
    at = path.find("/")
    while at > 0:
        try:
            os.mkdir(path[:at])
        except OSError:
            pass
        at = path.find("/", at + 1)
def _andon_commit(moves, stale):
    for source, path in moves:
        _andon_folders(path)
        os.rename(source, path)
        _andon_feed()
    for path in stale:
        os.remove(path)
    os.rmdir({stage!r})
    try:
        from andon_base import slots
        state = slots.load()
        if state.active != slots.ROOT:
            state.active, state.previous, state.trial, state.crashes = slots.ROOT, None, None, 0
            slots.save(state)
    except Exception as error:
        # Another firmware's slots, or none: what was put on is what runs.
        print("slots:", error)
"""


@dataclass(frozen=True, slots=True)
class DeployPlan:
    """What has to happen: files to copy, files that are there already, files to remove."""

    changed: tuple[str, ...]
    same: tuple[str, ...]
    stale: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deployed:
    """What happened, and the node's own words at its start (None: it was not waited for)."""

    plan: DeployPlan
    copied_bytes: int
    boot_line: str | None


def plan_deployment(bundle: Bundle, on_board: Mapping[str, bytes]) -> DeployPlan:
    """Compare hashes. `main.py` goes last and `boot.py` before it, so that they meet the packages that they start."""
    changed = [path for path in bundle.files if on_board.get(path) != bundle.digest(path)]
    changed.sort(key=lambda path: (path == "main.py", path == "boot.py", path))
    same = [path for path in bundle.files if on_board.get(path) == bundle.digest(path)]
    stale = sorted(set(on_board) - set(bundle.files))
    return DeployPlan(tuple(changed), tuple(same), tuple(stale))


def hashes_in(board: BoardLink, folders: Sequence[str], files: Sequence[str] = ()) -> dict[str, bytes]:
    """SHA-256 of the files and of everything in the folders, as far as they are on the board."""
    board.run(_LIST)
    lines = board.run(f"_andon_list({list(folders)!r}, {list(files)!r})").splitlines()
    return {path: bytes.fromhex(digest) for digest, path in (line.split(" ", 1) for line in lines)}


def require_bytecode(board: BoardLink, bundle: Bundle) -> None:
    """Check that the board can load what mpy-cross made.

    Raises:
        NodeError: its MicroPython reads another version of bytecode.
    """
    compiled = next((data for path, data in bundle.files.items() if path.endswith(".mpy")), None)
    if compiled is None:
        return
    version = int(board.evaluate("getattr(__import__('sys').implementation, '_mpy', 0)")) & 0xFF
    if version != compiled[1]:
        raise NodeError(
            f"the board reads .mpy version {version}, this mpy-cross writes {compiled[1]}: deploy with --source, "
            "or write a newer MicroPython with: andon node flash"
        )


def deploy(
    board: BoardLink, bundle: Bundle, *, announce: Callable[[DeployPlan], None], progress: Callable[[str, int], None]
) -> Deployed:
    """Copy what changed beside its place, check every hash, then move all of it into place at once.

    Until the last step the board would start its old firmware; when the line breaks, the next deployment begins anew.

    Args:
        board: The board, in its raw REPL.
        bundle: The firmware.
        announce: Told the plan before the first byte is copied.
        progress: Told path and bytes done of it.

    Raises:
        NodeError: the board cannot take it: bytecode version, room on its flash.
        VerifyError: a file arrived changed.
    """
    require_bytecode(board, bundle)
    _clear_stage(board)
    plan = plan_deployment(bundle, hashes_in(board, bundle.packages, ROOT_FILES))
    announce(plan)
    copied = sum(len(bundle.files[path]) for path in plan.changed)
    _require_room(board, copied)
    if plan.changed or plan.stale:
        moves = [(f"{_STAGE}/{number}", path) for number, path in enumerate(plan.changed)]
        board.run(f"os.mkdir({_STAGE!r})")
        for staged, path in moves:
            board.copy(staged, bundle.files[path], partial(progress, path))
        _require_equal(hashes_in(board, [_STAGE]), {staged: bundle.digest(path) for staged, path in moves})
        board.run(_COMMIT.replace("{stage!r}", repr(_STAGE)))
        board.feed()
        board.run(f"_andon_commit({moves!r}, {list(plan.stale)!r})")
        _require_equal(
            hashes_in(board, bundle.packages, ROOT_FILES), {path: bundle.digest(path) for path in bundle.files}
        )
    return Deployed(plan, copied, None)


def wait_for_node(board: BoardLink, limit_s: float = _BOOT_LIMIT_S) -> str:
    """Restart the board and wait for the node's own line `node: NAME boot N`, or for why there is none.

    Raises:
        BoardError: neither came within `limit_s`.
    """
    lines = board.restart_and_wait(lambda line: line.startswith(("node: ", "config: ")) and "task" not in line, limit_s)
    return lines[-1]


def _require_equal(found: Mapping[str, bytes], wanted: Mapping[str, bytes]) -> None:
    wrong = sorted(path for path, digest in wanted.items() if found.get(path) != digest)
    if wrong:
        raise VerifyError(f"{wrong[0]}: the board holds something else than was sent; deploy again, then another cable")


def _clear_stage(board: BoardLink) -> None:
    board.run(f"""\
import os
os.chdir(_andon_root)
try:
    for _name in os.listdir({_STAGE!r}):
        os.remove({_STAGE!r} + "/" + _name)
    os.rmdir({_STAGE!r})
except OSError:
    pass
""")


def _require_room(board: BoardLink, needed: int) -> None:
    block, free = board.evaluate("(lambda s: (s[0], s[3]))(__import__('os').statvfs(_andon_root))")
    if block * free < needed + _SPARE_BYTES:
        raise NodeError(
            f"the board's flash has {block * free:,} bytes free, {needed + _SPARE_BYTES:,} are needed; "
            "see what is on it: mpremote fs tree; free it with: andon node flash"
        )
