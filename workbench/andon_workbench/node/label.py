"""The label on a node's housing: what it is and how to recognise it; never a key."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import segno

from andon_workbench.node.errors import NodeError

if TYPE_CHECKING:
    from pathlib import Path

_SCALE: Final = 8
_FINGERPRINT_GROUPS: Final = 4
_FORMATS: Final = (".png", ".svg", ".txt")


@dataclass(frozen=True, slots=True)
class Label:
    """What stands on it. The fingerprint is a hash that tells two key sets apart and gives nothing of them away."""

    node: str
    machine: str
    fingerprint: str

    @property
    def text(self) -> str:
        """What the QR code says."""
        return f"andon:{self.node};machine={self.machine};fp={self.fingerprint}"

    def terminal(self) -> str:
        """For a terminal: the code, then the words."""
        drawing = io.StringIO()
        self._code().terminal(out=drawing, compact=True, border=2)
        return (
            f"{drawing.getvalue()}\n  node     {self.node}\n  machine  {self.machine}\n  keys     {self.fingerprint}\n"
        )

    def save(self, path: Path) -> None:
        """Write the label as .png, .svg or .txt.

        Raises:
            NodeError: another ending, or the file cannot be written.
        """
        require_place(path)
        try:
            if path.suffix == ".txt":
                path.write_text(self.terminal())
            else:
                title = {"title": f"{self.node} on {self.machine}", "desc": self.fingerprint}
                self._code().save(str(path), scale=_SCALE, **(title if path.suffix == ".svg" else {}))
        except OSError as error:
            raise NodeError(f"--label {path}: {error.strerror}") from error

    def _code(self) -> segno.QRCode:
        return segno.make(self.text, error="m", micro=False)


def require_place(path: Path) -> None:
    """Check that a label can be written there, before anything is done that the label is about.

    Raises:
        NodeError: another ending than .png, .svg or .txt, or no such folder.
    """
    if path.suffix not in _FORMATS:
        raise NodeError(f"--label {path}: expected a name that ends in {', '.join(_FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise NodeError(f"--label {path}: No such folder")


def fingerprint(digest: bytes) -> str:
    """Eight bytes that tell two key files apart, in groups.

    Args:
        digest: SHA-256 of the key file; the board can compute it without showing the keys.
    """
    digits = hashlib.sha256(b"andon label\0" + digest).hexdigest()[: 4 * _FINGERPRINT_GROUPS]
    return "-".join(digits[at : at + 4] for at in range(0, len(digits), 4))
