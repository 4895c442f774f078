"""The record of an acceptance test: one JSON document, signed with Ed25519 (RFC 8032)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from andon_workbench.bundle.keys import public_half
from andon_workbench.node.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FORMAT: Final = "andon-acceptance-1"
# What is signed begins with this, so that no signature of a record can pass for one of firmware or configuration.
_DOMAIN: Final = b"andon acceptance\n"
_GROUPS: Final = 4


class RecordError(NodeError):
    """A record is no record, or its signature does not fit."""


class Outcome(StrEnum):
    """How a step ended. A remark does not stand in the way of acceptance."""

    PASSED = "passed"
    REMARK = "remark"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the record: what was tested, how it ended, what was found."""

    name: str
    outcome: Outcome
    found: str


@dataclass(frozen=True, slots=True)
class Identity:
    """What was tested. Hashes are SHA-256 in hexadecimal; the configuration's is taken without the Wi-Fi section."""

    node: str
    board: str
    unique_id: str
    micropython: str
    firmware_files: int
    firmware_sha256: str
    config_sha256: str
    keys_fingerprint: str


@dataclass(frozen=True, slots=True)
class Record:
    """What was tested, by whom, when (UTC, ISO 8601), and how it ended.

    All values are texts, numbers without fraction, or truth values: they have one way of being written down.
    """

    identity: Identity
    date: str
    inspector: str
    answered_by: str
    steps: tuple[Step, ...]

    @property
    def accepted(self) -> bool:
        """Whether something was tested and nothing failed."""
        return any(step.outcome is Outcome.PASSED for step in self.steps) and all(
            step.outcome is not Outcome.FAILED for step in self.steps
        )

    def document(self) -> dict[str, Any]:
        """The record as JSON has it."""
        return {
            "format": FORMAT,
            "accepted": self.accepted,
            **asdict(self.identity),
            "date": self.date,
            "inspector": self.inspector,
            "answered_by": self.answered_by,
            "steps": [asdict(step) for step in self.steps],
        }


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A record's document with the key that signed it (raw, hexadecimal) and the signature (hexadecimal)."""

    document: dict[str, Any]
    public_key: str
    signature: str

    @property
    def digest(self) -> str:
        """SHA-256 of what was signed."""
        return hashlib.sha256(_signed_bytes(self.document)).hexdigest()

    @property
    def fingerprint(self) -> str:
        """Eight bytes that tell keys apart, in groups."""
        return key_fingerprint(self.public_key)

    def render(self) -> str:
        """The file's content."""
        whole = {
            "record": self.document,
            "signature": {"algorithm": "Ed25519", "public_key": self.public_key, "value": self.signature},
        }
        return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def key_fingerprint(public_key: str) -> str:
    """Eight bytes of the SHA-256 of a raw public key, in groups.

    Args:
        public_key: 64 hexadecimal digits.
    """
    digits = hashlib.sha256(bytes.fromhex(public_key)).hexdigest()[: 4 * _GROUPS]
    return "-".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def sign(record: Record, key: Ed25519PrivateKey) -> SignedRecord:
    """Sign a record."""
    document = json.loads(json.dumps(record.document()))
    return SignedRecord(document, public_half(key), key.sign(_signed_bytes(document)).hex())


def read(path: Path) -> SignedRecord:
    """Read a record file and check that its signature is the one of the key that it names.

    Raises:
        RecordError: no record, or something in it was changed.
    """
    try:
        whole = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_doubles)
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: expected an acceptance record in JSON: {error}") from error
    try:
        document, signature = whole["record"], whole["signature"]
        found = SignedRecord(document, signature["public_key"], signature["value"])
        known = document["format"] == FORMAT and signature["algorithm"] == "Ed25519" and _is_whole(document)
        intact = known and _fits(found)
    except (KeyError, TypeError, ValueError):
        raise RecordError(f"{path}: expected an acceptance record of the form {FORMAT}") from None
    if not known:
        raise RecordError(f"{path}: expected the form {FORMAT}, signed with Ed25519")
    if not intact:
        raise RecordError(f"{path}: the signature does not fit: the record was changed, or is not this key's")
    return found


def require_signer(signed: SignedRecord, public_key: str) -> None:
    """Check that a record was signed with a key that is trusted.

    Raises:
        RecordError: it was another.
    """
    if signed.public_key.lower() != public_key.strip().lower():
        raise RecordError(f"signed with another key: {signed.fingerprint}")


def summary(steps: Sequence[Step]) -> str:
    """How many steps ended how."""
    counts = {outcome: sum(step.outcome is outcome for step in steps) for outcome in Outcome}
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)


def _is_whole(document: dict[str, Any]) -> bool:
    """Whether everything is there, as text where it is shown, and the verdict is the one of the steps."""
    texts = (*Identity.__slots__, "date", "inspector", "answered_by")
    if not all(isinstance(document[name], int if name == "firmware_files" else str) for name in texts):
        return False
    if not all(isinstance(document[name], int) or document[name].isprintable() for name in texts):
        return False
    outcomes = [Outcome(step["outcome"]) for step in document["steps"]]
    return document["accepted"] is (Outcome.PASSED in outcomes and Outcome.FAILED not in outcomes)


def _fits(signed: SignedRecord) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed.public_key)).verify(
            bytes.fromhex(signed.signature), _signed_bytes(signed.document)
        )
    except InvalidSignature:
        return False
    return True


def _signed_bytes(document: dict[str, Any]) -> bytes:
    # One way to write it: keys sorted, no spaces, UTF-8, no fractions (refused, since languages print them differently).
    _refuse_fractions(document)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return _DOMAIN + text.encode()


def _refuse_fractions(value: Any) -> None:
    if isinstance(value, float):
        raise ValueError("a number with a fraction")  # noqa: TRY004  a value that is not allowed there, as from outside
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _refuse_fractions(item)


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found
