"""Settings and the command `andon-cloud`: every mistake is one line that names the key."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest
from cloud.platform.harness import LIMIT_S, cloud_environment

from andon_cloud.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from pathlib import Path

    from cloud.platform.harness import StartServer

TOKEN = "0123456789abcdef"


def andon_cloud(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "andon_cloud.cli", *arguments],
        env=cloud_environment(**({"data_dir": str(folder), "console": "false"} | settings)),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for key in Settings.model_fields:
        monkeypatch.delenv(f"ANDON_CLOUD_{key.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)  # away from a developer's .env


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("PORT", "70000", "65535"),
        ("PORT", "http", "integer"),
        ("STORE", "redis", "influxdb"),
        ("API_TOKEN", "short", "16 characters"),
        ("BOOTSTRAP_GATEWAYS", "gw-1", "GATEWAY:TOKEN"),
        ("BOOTSTRAP_GATEWAYS", f"GW_1:{TOKEN}", "DNS label"),
        ("BOOTSTRAP_GATEWAYS", "gw-1:short", "16 characters"),
        ("DATABASE_URL", "mysql://x", "postgresql://"),
        ("COMMAND_POLL_S", "0", "greater than 0"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_key(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(f"ANDON_CLOUD_{key}", value)
    with pytest.raises(SettingsError) as caught:
        load()
    message = str(caught.value)
    assert message.startswith(f"ANDON_CLOUD_{key}: ")
    assert expected in message
    assert "\n" not in message


def test_influxdb_needs_its_address_and_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDON_CLOUD_STORE", "influxdb")
    with pytest.raises(SettingsError, match=r"^ANDON_CLOUD_INFLUXDB_URL: "):
        load()
    monkeypatch.setenv("ANDON_CLOUD_INFLUXDB_URL", "http://influxdb:8086")
    with pytest.raises(SettingsError, match=r"^ANDON_CLOUD_INFLUXDB_TOKEN: "):
        load()


def test_the_environment_wins_over_the_files_and_arguments_over_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text(
        'port = 1001\nlog_level = "debug"\ninfluxdb_org = "toml"\n[bootstrap_gateways]\ngw-1 = "0123456789abcdef"\n'
    )
    (tmp_path / ".env").write_text("ANDON_CLOUD_PORT=1002\nANDON_CLOUD_INFLUXDB_ORG=dotenv\nOTHER=1\n")
    monkeypatch.setenv("ANDON_CLOUD_INFLUXDB_ORG", "environment")
    settings = load(file)
    assert (settings.log_level, settings.port, settings.influxdb_org) == ("debug", 1002, "environment")
    assert settings.bootstrap_gateways["gw-1"].get_secret_value() == TOKEN
    assert load(file, port=1003).port == 1003


@pytest.mark.parametrize(
    ("content", "words"),
    [("port = ", "expected TOML"), ("prot = 1", "prot: unknown key"), ("port = 'a'", "ANDON_CLOUD_PORT")],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "cloud.toml"
    file.write_text(content)
    with pytest.raises(SettingsError, match=words) as caught:
        load(file)
    assert "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "absent.toml")


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("API_TOKEN", "DATABASE_URL", "INFLUXDB_URL", "INFLUXDB_TOKEN", "BOOTSTRAP_GATEWAYS"):
        monkeypatch.setenv(f"ANDON_CLOUD_{key}", "")
    settings = load()
    assert settings.api_token is None
    assert settings.bootstrap_gateways == {}


def test_settings_never_show_secrets() -> None:
    settings = load(
        api_token=TOKEN,
        database_url="postgresql://u:hunter22@h/d",
        bootstrap_gateways=f"gw-1:{TOKEN}",
        store="embedded",
    )
    assert TOKEN not in repr(settings)
    assert "hunter22" not in repr(settings)


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "10.1.2.3", "factory.example"])
def test_without_a_token_only_loopback_is_served(tmp_path: Path, bind: str) -> None:
    with pytest.raises(SettingsError, match=r"^ANDON_CLOUD_API_TOKEN: "):
        load(bind=bind)
    assert load(bind=bind, api_token=TOKEN).bind == bind
    if bind == "0.0.0.0":
        refused = andon_cloud(tmp_path, "serve", bind=bind)
        assert refused.returncode == 2
        assert refused.stderr.startswith("andon-cloud: ANDON_CLOUD_API_TOKEN: ")
        assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("bind", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_no_token(bind: str) -> None:
    assert load(bind=bind).bind == bind


def test_a_port_in_use_is_one_line_with_the_setting(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        refused = andon_cloud(tmp_path, "serve", "--port", port)
    assert refused.returncode == 2
    assert (
        refused.stderr
        == f"andon-cloud: ANDON_CLOUD_PORT: port {port} is in use; set another one, or 0 for any free port\n"
    )
    assert refused.stdout == ""


def test_a_dead_database_is_one_line(tmp_path: Path) -> None:
    url = "postgresql://andon:hunter22@127.0.0.1:1/andon"
    for command in ("serve", "check", "migrate"):
        refused = andon_cloud(tmp_path, command, database_url=url, port="0")
        assert refused.returncode == 2, command
        assert refused.stderr.count("\n") == 1, refused.stderr
        assert "hunter22" not in refused.stderr


def test_migrate_and_check(tmp_path: Path, database_url: str) -> None:
    migrated = andon_cloud(tmp_path, "migrate", database_url=database_url)
    assert (migrated.returncode, migrated.stderr) == (0, "")
    assert "newest schema" in migrated.stdout
    checked = andon_cloud(tmp_path, "check", database_url=database_url)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "database answers" in checked.stdout


def test_the_server_says_where_it_is_and_stops_well(start_server: StartServer) -> None:
    server = start_server(bind="::1")
    assert server.url.startswith("http://[::1]:")
    assert httpx.get(f"{server.url}/healthz").json() == {"database": "ok", "store": "ok"}
    assert server.stop() == 0


def test_a_folder_that_another_server_uses_is_one_line(start_server: StartServer, tmp_path: Path) -> None:
    start_server(data_dir=str(tmp_path / "shared"))
    refused = andon_cloud(tmp_path / "shared", "serve", "--port", "0")
    assert refused.returncode == 2
    assert refused.stderr.startswith("andon-cloud: ")
    assert refused.stderr.count("\n") == 1, refused.stderr
