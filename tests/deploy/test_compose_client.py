"""docker-compose.yml as the real client reads it: `docker compose config`, or Debian's docker-compose."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from parts import require_part

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60


def find_client() -> list[str] | None:
    """The command of the first compose client that works."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], capture_output=True, check=False, timeout=LIMIT_S).returncode == 0:
            return command
    return None


@pytest.fixture(scope="module")
def client() -> list[str]:
    command = find_client()
    require_part("docker-compose", found=command is not None, how="make deps-test")
    assert command is not None
    return command


def config(client: list[str], env_file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANDON_")}
    files = ["-f", str(ROOT / "docker-compose.yml"), "--env-file", str(env_file)]
    return subprocess.run(
        [*client, "--project-directory", str(ROOT), *files, *arguments, "config"],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env=environment,
        cwd=env_file.parent,
    )


def write(path: Path, variables: dict[str, str]) -> Path:
    path.write_text("".join(f"{name}={value}\n" for name, value in variables.items()), encoding="utf-8")
    return path


def test_the_client_accepts_the_file(client: list[str], filled: dict[str, str], tmp_path: Path) -> None:
    done = config(client, write(tmp_path / "env", filled), "--profile", "emulated")
    assert done.returncode == 0, done.stderr
    resolved = yaml.safe_load(done.stdout)
    assert {"influxdb", "cloud", "gateway", "grafana", "emulated"} == set(resolved["services"])
    assert "${" not in done.stdout
    environment = resolved["services"]["cloud"]["environment"]
    assert environment["ANDON_CLOUD_BOOTSTRAP_GATEWAYS"] == f"gw-1:{filled['ANDON_GATEWAY_TOKEN']}"
    assert resolved["services"]["gateway"]["read_only"] is True, "the shared block reached the service"


def test_the_example_as_it_is_does_not_start(client: list[str], example: dict[str, str], tmp_path: Path) -> None:
    # That every secret is refused when empty follows from the rule in test_compose.py; the client takes seconds a call.
    done = config(client, write(tmp_path / "env", example))
    assert done.returncode != 0
    assert ".env.example" in done.stderr
