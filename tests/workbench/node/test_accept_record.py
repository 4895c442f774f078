"""The record and its sheet: what is signed stays signed, what was changed is seen, and what failed is on the page."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from andon_workbench.node import accept_record, accept_sheet
from andon_workbench.node.accept_person import Prepared, Pulses
from andon_workbench.node.accept_record import Identity, Outcome, Record, RecordError, Step
from andon_workbench.node.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
IDENTITY = Identity(
    "press-7", "esp32-devkit, ESP32", "e048dec206cb", "1.26.0", 80, "a" * 64, "b" * 64, "9106-4da5-695e-751e"
)


def record(*steps: Step, inspector: str = "Ada") -> Record:
    return Record(IDENTITY, "2026-11-26T03:37:44Z", inspector, "a person", steps)


PASSED = Step("relay/0", Outcome.PASSED, "GPIO25: contact follows in 4 ms")
FAILED = Step("cycles/0", Outcome.FAILED, "6 counted, 5 given")

# RFC 8259 documents as a record holds them: no fractions.
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("outcomes", "accepted"),
    [
        ((Outcome.PASSED,), True),
        ((Outcome.PASSED, Outcome.REMARK, Outcome.SKIPPED), True),
        ((Outcome.PASSED, Outcome.FAILED), False),
        ((), False),
        ((Outcome.SKIPPED,), False),
    ],
)
def test_accepted_means_something_passed_and_nothing_failed(outcomes: tuple[Outcome, ...], accepted: bool) -> None:  # noqa: FBT001  pytest's parameter
    assert record(*(Step("x", outcome, "") for outcome in outcomes)).accepted is accepted


def test_signed_record_is_read_back_and_names_its_key(tmp_path: Path) -> None:
    signed = accept_record.sign(record(PASSED, inspector="Łukasz Müller 李"), KEY)
    path = tmp_path / "record.json"
    path.write_text(signed.render(), encoding="utf-8")
    assert accept_record.read(path) == signed
    accept_record.require_signer(signed, KEY.public_key().public_bytes_raw().hex().upper())
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    with pytest.raises(RecordError, match="another key"):
        accept_record.require_signer(signed, other)


def test_signature_is_checked_by_openssl_as_the_manual_says(tmp_path: Path) -> None:
    """The form is simple enough for another program: prefix, then the record with sorted keys and no spaces."""
    signed = json.loads(accept_record.sign(record(PASSED), KEY).render())
    message = b"andon acceptance\n" + json.dumps(signed["record"], sort_keys=True, separators=(",", ":")).encode()
    (tmp_path / "message").write_bytes(message)
    (tmp_path / "signature").write_bytes(bytes.fromhex(signed["signature"]["value"]))
    pem = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    command = "openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in message -sigfile signature"
    done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Signature Verified Successfully" in done.stdout, done.stderr


@given(values, st.sampled_from(["node", "accepted", "date", "inspector", "steps", "firmware_sha256", "more"]))
def test_any_change_of_a_field_is_seen(value: Any, field: str) -> None:
    signed = accept_record.sign(record(PASSED, FAILED), KEY)
    changed = {**signed.document, field: value}
    try:
        intact = accept_record._fits(accept_record.SignedRecord(changed, signed.public_key, signed.signature))
    except ValueError:
        intact = False
    # False == 0 for Python, but not for JSON.
    assert intact == (json.dumps(changed, sort_keys=True) == json.dumps(signed.document, sort_keys=True))


def changed_value(text: str) -> str:
    return text.replace('"accepted": false', '"accepted": true')


def second_value(text: str) -> str:
    return text.replace('"accepted": false', '"accepted": false, "accepted": true')


def fraction(text: str) -> str:
    return text.replace('"firmware_files": 80', '"firmware_files": 80.0')


def other_form(text: str) -> str:
    return text.replace("andon-acceptance-1", "andon-acceptance-2")


@pytest.mark.parametrize(
    "change", [changed_value, second_value, fraction, other_form, lambda text: text[:-9], lambda _text: "[]"]
)
def test_changed_files_are_refused(change: Callable[[str], str], tmp_path: Path) -> None:
    text = accept_record.sign(record(PASSED, FAILED), KEY).render()
    path = tmp_path / "record.json"
    path.write_text(change(text))
    assert change(text) != text
    with pytest.raises(RecordError):
        accept_record.read(path)


@pytest.mark.parametrize(
    "change",
    [
        {"accepted": True},
        {"node": 7},
        {"inspector": "Ada\x1b[2J"},
        {"steps": [{"name": "x", "outcome": "perhaps", "found": ""}]},
        {"firmware_files": "80"},
    ],
)
def test_record_that_makes_no_sense_is_refused_although_it_is_signed(change: dict[str, Any], tmp_path: Path) -> None:
    document = accept_record.sign(record(PASSED, FAILED), KEY).document | change
    signature = KEY.sign(accept_record._signed_bytes(document)).hex()
    public = KEY.public_key().public_bytes_raw().hex()
    path = tmp_path / "record.json"
    path.write_text(accept_record.SignedRecord(document, public, signature).render())
    with pytest.raises(RecordError, match="expected"):
        accept_record.read(path)


def test_signature_of_a_configuration_is_none_of_a_record() -> None:
    """The same bytes signed for another purpose: the prefix keeps them apart."""
    signed = accept_record.sign(record(PASSED), KEY)
    body = json.dumps(signed.document, sort_keys=True, separators=(",", ":")).encode()
    for other in (b"andon config\n", b""):
        forged = accept_record.SignedRecord(signed.document, signed.public_key, KEY.sign(other + body).hex())
        assert not accept_record._fits(forged)


def words_of(pdf: bytes) -> str:
    """The text of a PDF whose fonts are the PDF's own: the strings of its decompressed content."""
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            content = zlib.decompress(stream)
        except zlib.error:
            continue
        found += [text.decode("latin-1") for text in re.findall(rb"\(((?:\\.|[^()\\])*)\) Tj", content)]
    return "\n".join(found)


@pytest.mark.parametrize("count", [1, 17, 40, 300])
def test_sheet_is_one_page_and_shows_what_failed(count: int, tmp_path: Path) -> None:
    steps = [Step(f"input/{number}", Outcome.PASSED, "active and inactive seen " * 9) for number in range(count)]
    steps[-1] = Step("cycles/63", Outcome.FAILED, "6 counted, 5 given")
    signed = accept_record.sign(record(*steps, inspector="Łukasz Müller"), KEY)
    accept_sheet.write(signed, tmp_path / "sheet.pdf")
    pdf = (tmp_path / "sheet.pdf").read_bytes()
    assert len(re.findall(rb"/Type /Page\b", pdf)) == 1
    words = words_of(pdf)
    for word in (
        "NOT ACCEPTED",
        "press-7",
        "cycles/63",
        "6 counted, 5 given",
        "Lukasz Müller",
        "a" * 64,
        signed.digest,
    ):
        assert word in words
    assert signed.public_key in words


def test_accepted_sheet_says_so(tmp_path: Path) -> None:
    signed = accept_record.sign(record(PASSED), KEY)
    accept_sheet.write(signed, tmp_path / "sheet.pdf")
    words = words_of((tmp_path / "sheet.pdf").read_bytes())
    assert "ACCEPTED" in words
    assert "NOT ACCEPTED" not in words
    with pytest.raises(NodeError, match="No such file"):
        accept_sheet.write(signed, tmp_path / "nowhere/sheet.pdf")


def test_qr_code_names_the_record_by_its_hash() -> None:
    signed = accept_record.sign(record(PASSED), KEY)
    body = json.dumps(signed.document, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(b"andon acceptance\n" + body).hexdigest()
    assert f"sha256={digest}" in accept_sheet.qr_text(signed)
    assert "press-7;2026-11-26T03:37:44Z;accepted" in accept_sheet.qr_text(signed)


def test_pulses_given() -> None:
    assert Pulses.parse("5").fit(5)
    assert not Pulses.parse("5").fit(6)
    assert Pulses.parse(" 5+").fit(6)
    assert not Pulses.parse("5+").fit(4)
    for text in ("", "five", "-1", "5++", "1e3", "9999999"):
        with pytest.raises(NodeError, match="expected a number of pulses"):
            Pulses.parse(text)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"isolate": True}, "no such key: isolate"),
        ({"wait_s": 0}, "wait_s"),
        ({"wait_s": True}, "wait_s"),
        ({"wait_s": "60"}, "wait_s"),
    ],
)
def test_answers_that_make_no_sense(answers: dict[str, Any], message: str) -> None:
    with pytest.raises(NodeError, match=message):
        Prepared(answers)


def test_answers_that_are_missing_are_named(tmp_path: Path) -> None:
    person = Prepared({"pulses": {"cycles/1": True}, "outputs": []})
    with pytest.raises(NodeError, match="isolated: expected true or false"):
        person.confirm("isolated", "safe?")
    assert person.confirm("temperature/0", "as a reference?") is False
    with pytest.raises(NodeError, match="outputs: expected an object"):
        person.confirm("relay/0", "seen?")
    for name in ("cycles/0", "cycles/1"):
        with pytest.raises(NodeError, match=f"{name}: expected the number of pulses"):
            person.pulses(name, "give", lambda: 0)
    for text, message in (("{", "expected JSON"), ("[]", "expected a JSON object")):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(NodeError, match=message):
            Prepared.load(tmp_path / "a.json")
    with pytest.raises(NodeError, match="No such file"):
        Prepared.load(tmp_path / "none.json")
