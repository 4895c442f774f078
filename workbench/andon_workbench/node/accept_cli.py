"""The command `andon node accept`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from andon_workbench.bundle.format import BundleError
from andon_workbench.bundle.keys import read_key
from andon_workbench.checkout import find_checkout
from andon_workbench.node import accept_record, accept_sheet
from andon_workbench.node.accept import Circumstances, require_inspector, run
from andon_workbench.node.accept_person import AtTerminal, Prepared
from andon_workbench.node.cli_parts import EXIT_CHECKS_FAILED, AsJson, Port, one_line_errors, print_json
from andon_workbench.node.errors import NodeError
from andon_workbench.node.link import choose_port

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

EXAMPLES: Final = (
    "Examples:  andon node accept --inspector 'A. Lovelace' --key inspector.key  |  "
    "andon node accept --inspector jig-2 --key jig.key --answers press.json --out records --json  |  "
    "andon node accept --verify acceptance-press-7-20261126T041500Z.json --public-key inspector.hex"
)
_PUBLIC_KEY: Final = re.compile(r"[0-9a-fA-F]{64}")


def accept(
    *,
    port: Port = None,
    inspector: Annotated[str | None, typer.Option(help="Who tests and signs.")] = None,
    key: Annotated[
        Path | None, typer.Option(help="The inspector's or the site's private key (andon firmware keygen FILE).")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder for the record.")] = Path(),
    answers: Annotated[
        Path | None, typer.Option(help="Answers for a jig or for CI, JSON; without it a person is asked.")
    ] = None,
    verify: Annotated[Path | None, typer.Option(help="Check the signature of a record instead.")] = None,
    public_key: Annotated[
        str | None, typer.Option(help="With --verify: the key that must have signed, 64 hexadecimal digits or a file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Test a built node through its serial port and write a signed record: JSON, and one page of PDF.

    Outputs are driven one at a time and their contacts read back; inputs are asked for and counted; flash, memory, firmware,
    configuration, keys, Wi-Fi, gateway and clock are examined. Outputs are safe at any end. The exit status is 0 for an
    accepted node, 1 for one that is not.
    """
    with one_line_errors():
        if verify is not None:
            _verify(verify, public_key, as_json=as_json)
            return
        if inspector is None or key is None:
            raise NodeError("name who tests and signs with --inspector NAME and --key FILE, or a record with --verify")
        # All that can be wrong without the board is looked at first.
        who = require_inspector(inspector)
        secret = _key(key)
        person = Prepared.load(answers) if answers is not None else AtTerminal()
        _require_folder(out)
        now = datetime.now(UTC)
        circumstances = Circumstances(
            who, now.strftime("%Y-%m-%dT%H:%M:%SZ"), "a person" if answers is None else f"the file {answers.name}"
        )
        record = run(
            choose_port(port),
            find_checkout().firmware,
            person,
            circumstances,
            lambda step: typer.echo(f"{step.outcome:8} {step.name:14} {step.found}"),
        )
        signed = accept_record.sign(record, secret)
        stem = out / f"acceptance-{record.identity.node or 'node'}-{now:%Y%m%dT%H%M%SZ}"
        paths = stem.with_name(stem.name + ".json"), stem.with_name(stem.name + ".pdf")
        try:
            paths[0].write_text(signed.render(), encoding="utf-8")
        except OSError as error:
            raise NodeError(f"{paths[0]}: {error.strerror}") from error
        accept_sheet.write(signed, paths[1])
        counts = accept_record.summary(record.steps)
        if as_json:
            print_json({"accepted": record.accepted, "record": str(paths[0]), "sheet": str(paths[1]), "steps": counts})
        else:
            typer.echo(f"{'accepted' if record.accepted else 'NOT accepted'}: {counts}")
            typer.echo(f"record {paths[0]}, sheet {paths[1]}, signed with key {signed.fingerprint}")
        if not record.accepted:
            raise typer.Exit(EXIT_CHECKS_FAILED)


def _verify(path: Path, public_key: str | None, *, as_json: bool) -> None:
    try:
        signed = accept_record.read(path)
        if public_key is not None:
            accept_record.require_signer(signed, _public_key(public_key))
    except accept_record.RecordError as error:
        if as_json:
            print_json({"intact": False, "why": str(error)})
        else:
            typer.echo(f"not good: {error}", err=True)
        raise typer.Exit(EXIT_CHECKS_FAILED) from None
    record = signed.document
    if as_json:
        print_json(
            {
                "intact": True,
                "trusted": public_key is not None,
                "accepted": record["accepted"],
                "node": record["node"],
                "date": record["date"],
                "inspector": record["inspector"],
                "key": signed.public_key,
            }
        )
        return
    typer.echo(
        f"intact: {record['node']} {'accepted' if record['accepted'] else 'NOT accepted'} on {record['date']} by {record['inspector']}"
    )
    if public_key is None:
        typer.echo(
            f"signed with key {signed.fingerprint}; whether that is the inspector's is not known here: compare it, or give --public-key"
        )
    else:
        typer.echo(f"signed with the given key {signed.fingerprint}")


def _key(path: Path) -> Ed25519PrivateKey:
    try:
        return read_key(path)
    except BundleError as error:
        raise NodeError(f"--key: {error}") from error


def _public_key(given: str) -> str:
    text = given
    if not _PUBLIC_KEY.fullmatch(text):
        try:
            text = Path(given).read_text().strip()
        except (OSError, ValueError) as error:
            raise NodeError(f"--public-key {given}: expected 64 hexadecimal digits or a file with them") from error
    if not _PUBLIC_KEY.fullmatch(text):
        raise NodeError(f"--public-key {given}: expected 64 hexadecimal digits or a file with them")
    return text


def _require_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".andon-accept"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise NodeError(f"--out {out}: {error.strerror}") from error
