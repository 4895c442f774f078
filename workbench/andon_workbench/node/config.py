"""`andon node config`: read, change and check config.json; the rules stand in the firmware alone."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from andon_workbench.board import find_micropython
from andon_workbench.node.errors import BoardError, ConfigRefusedError, NodeError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from andon_workbench.node.link import BoardLink

CONFIG: Final = "config.json"
BACKUP: Final = "config.bak"
_CANDIDATE: Final = "config.try"
# Begins the name of a document that the node itself tries (firmware: config_store.py).
_ON_TRIAL: Final = "candidate."
_REFUSED: Final = "refused: "
_VM_LIMIT_S: Final = 20.0

# The firmware's own rule about which changes must be signed.
_TOUCHED: Final = """\
import sys, json
sys.path[:0] = {paths!r}
from andon_node.config_change import protected
print(protected(*[json.load(open({folder!r} + name)) for name in ("/before", "/after")]))
"""

# The firmware's own check, on the board or, for a board that has no firmware yet, on this machine's MicroPython.
_CHECK: Final = """\
def _andon_check(path):
    from andon_node import config
    try:
        config.load(path)
        print("good")
    except config.ConfigError as error:
        print("refused: " + str(error))
"""


def parse(text: str) -> dict[str, Any]:
    """Parse a document.

    Raises:
        ConfigRefusedError: it is no JSON object.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ConfigRefusedError(f"{CONFIG}: expected JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigRefusedError(f"{CONFIG}: expected a JSON object")
    return document


def render(document: dict[str, Any]) -> bytes:
    """The document as it stands on the board."""
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def value_at(document: Any, path: str) -> Any:
    """The value at a dotted path such as `wifi.ssid` or `temperature.0.pin`.

    Raises:
        NodeError: there is none.
    """
    value = document
    for key in path.split("."):
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise NodeError(f"{path}: not in the configuration; see all of it with: andon node config get") from None
    return value


def with_value(document: dict[str, Any], path: str, text: str) -> dict[str, Any]:
    """A copy of the document with one value changed; `text` is JSON, or else a plain text.

    Raises:
        NodeError: the path leads through something that is neither object nor list.
    """
    changed: dict[str, Any] = json.loads(json.dumps(document))
    *folders, last = path.split(".")
    place: Any = changed
    try:
        for key in folders:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        if isinstance(place, list):
            place[int(last)] = _json_or_text(text)
        else:
            place[last] = _json_or_text(text)
    except (IndexError, ValueError, TypeError, AttributeError):
        raise NodeError(f"{path}: no such place in the configuration") from None
    return changed


def hide_secrets(document: dict[str, Any]) -> None:
    """Blank what is not for other eyes."""
    wifi = document.get("wifi")
    if isinstance(wifi, dict) and wifi.get("password"):
        wifi["password"] = "(hidden: --secrets shows it)"  # noqa: S105  the blank


def read_config(board: BoardLink) -> dict[str, Any]:
    """Read the configuration from the board.

    Raises:
        NodeError: there is none, or it is no JSON.
    """
    try:
        return parse(board.read(CONFIG).decode(errors="replace"))
    except FileNotFoundError:
        raise NodeError(f"the board has no {CONFIG}; make one with: andon node provision") from None


def stage_config(board: BoardLink, document: dict[str, Any], firmware: Path) -> None:
    """Bring the document onto the board beside its place, and check it with the firmware's validator.

    Args:
        board: The board.
        document: The configuration.
        firmware: The checkout's firmware, whose validator is asked when the board has none yet.

    Raises:
        ConfigRefusedError: the validator's line; nothing was changed.
    """
    data = render(document)
    board.run("import os\nos.chdir(_andon_root)")
    board.write(_CANDIDATE, data)
    try:
        check_on_board(board, _CANDIDATE, data, firmware)
    except ConfigRefusedError:
        board.run(f"os.remove({_CANDIDATE!r})")
        raise


def activate_config(board: BoardLink) -> None:
    """Put the staged document in force, by one rename; the one before is kept as config.bak.

    A document from the network that is still on trial is given up: once confirmed it would take this one's place.
    """
    board.run(f"""\
try:
    with open({CONFIG!r}, "rb") as _andon_old, open({BACKUP!r}, "wb") as _andon_copy:
        while True:
            _andon_part = _andon_old.read(512)
            if not _andon_part:
                break
            _andon_copy.write(_andon_part)
except OSError:
    pass
os.rename({_CANDIDATE!r}, {CONFIG!r})
for _andon_name in os.listdir():
    if _andon_name.startswith({_ON_TRIAL!r}):
        os.remove(_andon_name)
""")


def write_config(board: BoardLink, document: dict[str, Any], firmware: Path) -> None:
    """Stage, check and activate a document.

    Raises:
        ConfigRefusedError: the validator's line; nothing was changed.
    """
    stage_config(board, document, firmware)
    activate_config(board)


def check_on_board(board: BoardLink, path: str, data: bytes, firmware: Path) -> str:
    """Ask the board's validator, or this machine's when the board has no firmware; return which it was.

    Raises:
        ConfigRefusedError: what it says.
    """
    board.run(_CHECK)
    try:
        answer = board.run(f"_andon_check({path!r})")
    except BoardError as error:
        if "ImportError" not in str(error):
            raise
        check_here(data, firmware)
        return "this machine"
    _raise_refusal(answer, path)
    return "the board"


def check_here(data: bytes, firmware: Path) -> None:
    """Ask the checkout's validator on this machine's MicroPython.

    Raises:
        ConfigRefusedError: what it says.
        NodeError: it does not run.
    """
    with tempfile.TemporaryDirectory(prefix="andon-config-") as folder:
        candidate = Path(folder) / CONFIG
        candidate.touch(mode=0o600)
        candidate.write_bytes(data)
        program = f"import sys\nsys.path.insert(0, {str(firmware)!r})\n{_CHECK}_andon_check({str(candidate)!r})\n"
        done = subprocess.run(
            [find_micropython(), "-c", program], capture_output=True, text=True, timeout=_VM_LIMIT_S, check=False
        )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise NodeError(f"the firmware's validator does not run here: {' '.join(last)}")
    _raise_refusal(done.stdout, CONFIG)


def _raise_refusal(answer: str, path: str) -> None:
    line = answer.strip()
    if line.startswith(_REFUSED):
        said = line.removeprefix(_REFUSED)
        _, _, reason = said.partition(": ")
        raise ConfigRefusedError(f"{CONFIG}: {reason if path in said or CONFIG in said else said}; nothing was changed")


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def sign(data: bytes, key: Ed25519PrivateKey) -> str:
    """The site's signature of a document, 128 hexadecimal digits (docs/protocol.md: Ed25519 over `andon config`, line feed, body)."""
    return key.sign(b"andon config\n" + data).hex()


def touched_outputs(before: dict[str, Any], data: bytes, firmware: Path) -> str | None:
    """Ask the firmware which change of a document endangers the outputs, so that a node takes it only signed.

    Returns:
        The first such key, None when there is none.

    Raises:
        NodeError: no node that runs `before` would take it, signed or not.
    """
    after = parse(data.decode(errors="replace"))
    if after.get("node") != before.get("node"):
        raise NodeError(f"node: expected {before.get('node')}; another name needs other keys: andon node provision")
    if after.get("revision", 0) <= before.get("revision", 0):
        raise NodeError(f"revision: expected more than {before.get('revision', 0)}")
    with tempfile.TemporaryDirectory(prefix="andon-config-") as folder:
        # In files of one's own: a command line, and the Wi-Fi password in it, could be seen by everybody on the machine.
        for name, document in (("before", before), ("after", after)):
            (Path(folder) / name).touch(mode=0o600)
            (Path(folder) / name).write_text(json.dumps(document))
        paths = [str(firmware), str(firmware / "sim")]
        done = subprocess.run(
            [find_micropython(), "-X", "heapsize=2m", "-c", _TOUCHED.format(paths=paths, folder=folder)],
            capture_output=True, text=True, timeout=_VM_LIMIT_S, check=False,
        )  # fmt: skip
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise NodeError(f"the firmware's rule does not run here: {' '.join(last)}")
    answer = done.stdout.strip().splitlines()[-1]
    return None if answer == "None" else answer
