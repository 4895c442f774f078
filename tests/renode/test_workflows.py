"""The workflow files call tasks of the Makefile that exist, and the container is the one that the rung looks for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from andon_workbench.rungs import ladder
from andon_workbench.rungs.renode import parts

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TASKS = set(re.findall(r"^([a-z0-9-]+(?: [a-z0-9-]+)*):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load(path.read_text())["jobs"])


def commands(path: Path) -> list[str]:
    return [step["run"] for job in jobs(path).values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_task_exists(path: Path) -> None:
    known = {word for line in TASKS for word in line.split()}
    called = [found for command in commands(path) for found in re.findall(r"\bmake ([a-z0-9-]+)", command)]
    assert called
    # `apt-get install ... make` is no call.
    assert [task for task in called if task not in known] == []


def test_both_rungs_run_and_their_reports_are_kept() -> None:
    rungs = {}
    for path in WORKFLOWS:
        for job in jobs(path).values():
            for step in job["steps"]:
                if found := re.search(r"make test-boards BOARD=(\S+) REPORT=(\S+)", step.get("run", "")):
                    uploads = [other["with"]["path"] for other in job["steps"] if "upload" in other.get("uses", "")]
                    rungs[found[1]] = found[2] in uploads
                    ladder.boards_of(found[1])
    assert rungs == {"unix": True, "renode": True}


def test_packages_of_debian_are_installed_on_debian() -> None:
    """`make deps-test` names Debian's packages; GitHub's runners are Ubuntu, which has some of them otherwise or not at all."""
    for path in WORKFLOWS:
        for name, job in jobs(path).items():
            if any("make deps-test" in step.get("run", "") for step in job["steps"]):
                assert str(job["container"]["image"]).startswith("debian:"), name


def test_renodes_container_is_one_release_everywhere() -> None:
    used = jobs(ROOT / ".github/workflows/renode.yml")["renode-rung"]["container"]["image"]
    assert used == parts._CONTAINER_DEFAULT
