"""Rules for every Dockerfile that docker-compose.yml builds. Images cannot be built where there is no Docker daemon."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))[
    "services"
]
BUILDS = {
    name: (ROOT / service["build"]["context"], ROOT / service["build"]["context"] / service["build"]["dockerfile"])
    for name, service in SERVICES.items()
    if "build" in service
}

each_build = pytest.mark.parametrize("name", BUILDS)


def instructions(name: str) -> list[tuple[str, str]]:
    """Instruction and arguments, with continued lines joined and comments left out."""
    text = BUILDS[name][1].read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    return [(line.split()[0].upper(), line.split(maxsplit=1)[1]) for line in joined]


@each_build
def test_base_image_is_pinned_to_a_release(name: str) -> None:
    stages = set()
    for arguments in [arguments for word, arguments in instructions(name) if word == "FROM"]:
        image, *alias = arguments.split()
        assert image in stages or re.search(r":\d+\.\d+", image), f"{image}: expected a release, not latest"
        stages.update(alias[1:])


@each_build
def test_last_user_is_not_root(name: str) -> None:
    users = [arguments for word, arguments in instructions(name) if word == "USER"]
    assert users, "without USER the process is root"
    assert users[-1].split(":")[0] not in {"root", "0"}


@each_build
def test_third_party_packages_are_checked_by_hash(name: str) -> None:
    installs = [
        arguments
        for word, arguments in instructions(name)
        if word == "RUN" and re.search(r"\bpip install\b.*\s-r\s", arguments)
    ]
    assert installs, "the locked requirements are not installed"
    assert all("--require-hashes" in arguments for arguments in installs)
    requirements = BUILDS[name][1].parent / "requirements.txt"
    entries = re.findall(r"^[a-z0-9][^\s=]*==.*$", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    assert entries
    assert requirements.read_text(encoding="utf-8").count("--hash=sha256:") >= len(entries)


@each_build
def test_copied_files_exist_in_the_build_context(name: str) -> None:
    context, _ = BUILDS[name]
    for arguments in [arguments for word, arguments in instructions(name) if word in {"COPY", "ADD"}]:
        words = [word for word in arguments.split() if not word.startswith("--")]
        if "--from=" in arguments:
            continue
        for source in words[:-1]:
            assert (context / source).exists() or list(context.glob(source)), f"{source} is not in {context.name}/"


@each_build
def test_mounted_folders_belong_to_the_images_user(name: str) -> None:
    # Docker gives a new named volume the owner of the image's folder; a folder that is not there would be root's.
    for mount in SERVICES[name].get("volumes", []):
        source, target, *_ = mount.split(":")
        if not source.startswith("."):
            assert f"--home-dir {target} " in BUILDS[name][1].read_text(encoding="utf-8"), target


@each_build
def test_starts_an_argument_list_so_that_signals_arrive(name: str) -> None:
    starts = [arguments for word, arguments in instructions(name) if word in {"ENTRYPOINT", "CMD"}]
    assert starts
    assert all(arguments.startswith("[") for arguments in starts)


@each_build
def test_holds_no_secret(name: str) -> None:
    for word, arguments in instructions(name):
        if word in {"ENV", "ARG"}:
            assert not re.search(r"(TOKEN|PASSWORD|SECRET)\w*=\S", arguments)
