"""Rules of the house that no other tool checks: READMEs, links, locks, lengths."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ["firmware", "gateway", "cloud", "dashboards", "hardware", "renode", "workbench", "bench"]
LOCKED = ["requirements/dev.txt", "requirements/run.txt", "requirements/stubs.txt"] + [
    f"{room}/requirements.txt" for room in ("gateway", "cloud", "workbench", "dashboards")
]
CODE = re.compile(r"`[^`]*`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def tracked(pattern: str) -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_what_it_is(room: str) -> None:
    text = (ROOT / room / "README.md").read_text()
    assert len(text) > 200, f"{room}/README.md does not yet say what the room is"


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in tracked("*.md")
        for target in LINK.findall(CODE.sub("", document.read_text()))
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("name", LOCKED)
def test_locked_requirements_have_hashes_and_no_addresses(name: str) -> None:
    text = (ROOT / name).read_text()
    pins = re.findall(r"^([a-z0-9][\w.-]*(?:\[[\w,-]+\])?)==", text, re.MULTILINE | re.IGNORECASE)
    assert pins
    blocks = re.split(r"^(?=[a-zA-Z0-9])", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    assert "--index" not in text


def test_rooms_deploy_the_versions_that_were_tested() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^(\S+==[^\s;]+)", (ROOT / name).read_text(), re.MULTILINE))

    def bare(pin: str) -> str:
        return re.sub(r"\[.*?\]", "", pin)

    tested = {bare(pin) for pin in pins("requirements/dev.txt")}
    for name in LOCKED:
        if "stubs" not in name:
            assert {bare(pin) for pin in pins(name)} <= tested, name


def test_files_hold_one_idea() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked("*.py")
        if (lines := len(path.read_text().splitlines())) > 450
    }
    assert long == {}


def test_make_help_names_every_task() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = {name for line in re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE) for name in line.split()}
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {name for name in phony if not re.search(rf"^  make {re.escape(name)}\s", shown, re.MULTILINE)} == set()


def test_ci_runs_the_command_of_the_readme() -> None:
    assert "make test" in (ROOT / "README.md").read_text()
    assert re.search(r"^(?:\w+=\S+ )*make test$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
