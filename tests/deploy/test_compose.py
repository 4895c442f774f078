"""docker-compose.yml by our own rules: these need no Docker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from andon_cloud import settings as cloud_settings
from andon_gateway.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]

VARIABLE = re.compile(r"\$\{(\w+)(?:(:\?|:-)([^}]*))?\}")
SECRET = re.compile(r"TOKEN|PASSWORD|SECRET|GATEWAYS")
ROOT_BY_NEED = {"influxdb": "its entrypoint takes over the volume as root and goes on as the user influxdb"}
WRITABLE_ROOT = {"influxdb": "its first setup writes outside the volumes"}

each_service = pytest.mark.parametrize("name", SERVICES)


def texts(value: Any) -> Iterator[str]:
    """Every text in a nested value."""
    if isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def dockerfile(name: str) -> Path | None:
    build = SERVICES[name].get("build")
    return ROOT / build["context"] / build["dockerfile"] if build else None


def test_services_of_the_stack() -> None:
    assert {name for name, service in SERVICES.items() if not service.get("profiles")} == {
        "influxdb",
        "cloud",
        "gateway",
        "grafana",
    }
    assert SERVICES["emulated"]["profiles"] == ["emulated"]


@each_service
def test_has_a_health_check_with_limits(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD", "an argument list needs no shell in the image"
    assert {"interval", "timeout", "retries"} <= set(check)


@each_service
def test_waits_for_health_not_for_start(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert "healthcheck" in SERVICES[other]


@each_service
def test_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only", False) or name in WRITABLE_ROOT
    assert "privileged" not in service
    assert service.get("network_mode") is None
    assert service["logging"]["options"]["max-size"], "an unbounded log fills the disk"


@each_service
def test_does_not_run_as_root(name: str) -> None:
    user, file = SERVICES[name].get("user"), dockerfile(name)
    if file is not None:
        assert re.search(r"^USER (?!root|0\b)\w+", file.read_text(encoding="utf-8"), re.MULTILINE)
    else:
        assert (user and not user.startswith(("0", "root"))) or name in ROOT_BY_NEED


@each_service
def test_image_is_pinned_or_built_from_a_dockerfile_that_exists(name: str) -> None:
    file = dockerfile(name)
    if file is None:
        assert re.fullmatch(r"[a-z/]+:\d+\.\d+\.\d+", SERVICES[name]["image"])
    else:
        assert file.is_file(), f"{file.relative_to(ROOT)} is missing"


@each_service
def test_mounts_are_named_volumes_or_read_only_files_of_the_repository(name: str, compose: dict[str, Any]) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source, _, mode = mount.partition(":")
        if source.startswith("."):
            assert mode.endswith(":ro"), mount
            assert (ROOT / source).exists(), mount
        else:
            assert source in compose["volumes"], f"{source} would be an anonymous or foreign volume"


@each_service
def test_secrets_come_from_the_environment_and_have_no_default(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        if SECRET.search(key):
            variables = VARIABLE.findall(value)
            assert [operator for _, operator, _ in variables] == [":?"], f"{key} must refuse to be empty"


@each_service
def test_publishes_settable_ports_and_http_on_loopback(name: str, example: dict[str, str]) -> None:
    for port in SERVICES[name].get("ports", []):
        (address, _, default_address), (number, _, default_number) = VARIABLE.findall(port)
        assert example[address] == default_address
        assert example[number] == default_number
        assert default_address == "127.0.0.1" or port.endswith("/udp")


def test_default_ports() -> None:
    published = {
        name: VARIABLE.sub(lambda match: match[3], service["ports"][0])
        for name, service in SERVICES.items()
        if "ports" in service
    }
    assert published == {
        "influxdb": "127.0.0.1:8086:8086",
        "cloud": "127.0.0.1:8000:8000",
        "gateway": "0.0.0.0:5683:5683/udp",
        "grafana": "127.0.0.1:3000:3000",
    }


def test_every_variable_is_in_the_example_and_every_example_is_used(
    compose: dict[str, Any], example: dict[str, str]
) -> None:
    used = {name for text in texts(compose) for name, _, _ in VARIABLE.findall(text)}
    assert used == set(example)


def test_the_example_holds_no_secret(compose: dict[str, Any], example: dict[str, str]) -> None:
    required = {name for text in texts(compose) for name, operator, _ in VARIABLE.findall(text) if operator == ":?"}
    optional = {
        name for text in texts(compose) for name, operator, value in VARIABLE.findall(text) if operator and not value
    }
    assert required
    assert {name for name, value in example.items() if not value} == required | optional


def test_every_named_volume_is_used_and_lives_under_one_service(compose: dict[str, Any]) -> None:
    mounted = [mount.partition(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])]
    named = [source for source in mounted if not source.startswith(".")]
    assert sorted(named) == sorted(compose["volumes"])


def test_nodes_and_gateway_cannot_reach_the_store() -> None:
    assert SERVICES["gateway"]["networks"] == SERVICES["emulated"]["networks"] == ["plant"]
    assert SERVICES["influxdb"]["networks"] == SERVICES["grafana"]["networks"] == ["store"]


def test_the_cloud_takes_these_settings(
    filled: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = SERVICES["cloud"]["environment"]
    known = {f"{cloud_settings.PREFIX}{field.upper()}" for field in cloud_settings.Settings.model_fields}
    assert set(environment) <= known
    for key, value in environment.items():
        monkeypatch.setenv(key, VARIABLE.sub(lambda match: filled[match[1]], value))
    loaded = cloud_settings.load()
    assert (loaded.store, loaded.bind, loaded.port) == ("influxdb", "0.0.0.0", 8000)
    assert loaded.site_key == filled["ANDON_SITE_KEY"]
    assert loaded.bootstrap_gateways["gw-1"].get_secret_value() == filled["ANDON_GATEWAY_TOKEN"]


def test_the_gateway_takes_its_file_and_agrees_with_the_cloud() -> None:
    gateway = load_settings(ROOT / "deploy" / "gateway.toml")
    environment = SERVICES["cloud"]["environment"]
    assert environment["ANDON_CLOUD_BOOTSTRAP_GATEWAYS"].startswith(f"{gateway.gateway.id}:")
    assert SERVICES["emulated"]["environment"]["ANDON_SIMULATE_GATEWAY_ID"] == gateway.gateway.id
    assert gateway.cloud.org == environment["ANDON_CLOUD_INFLUXDB_ORG"]
    assert gateway.cloud.bucket == environment["ANDON_CLOUD_INFLUXDB_BUCKET"]
    assert gateway.cloud.url == f"http://cloud:{environment['ANDON_CLOUD_PORT']}"
    assert f"gateway-spool:{gateway.gateway.state_dir}" in SERVICES["gateway"]["volumes"]
    assert f":{gateway.http.port}/healthz" in " ".join(SERVICES["gateway"]["healthcheck"]["test"])


def test_store_cloud_and_grafana_name_the_same_bucket() -> None:
    store, cloud, grafana = (SERVICES[name]["environment"] for name in ("influxdb", "cloud", "grafana"))
    for what in ("ORG", "BUCKET"):
        assert store[f"DOCKER_INFLUXDB_INIT_{what}"] == cloud[f"ANDON_CLOUD_INFLUXDB_{what}"]
        assert store[f"DOCKER_INFLUXDB_INIT_{what}"] == grafana[f"ANDON_INFLUXDB_{what}"]


def test_grafana_gets_what_its_provisioning_asks_for() -> None:
    environment = SERVICES["grafana"]["environment"]
    provisioning = ROOT / "dashboards" / "provisioning"
    asked = set(re.findall(r"\$([A-Z_]+)", (provisioning / "datasources/influxdb.yml").read_text(encoding="utf-8")))
    assert asked - {"NAME"} <= set(environment)
    path = yaml.safe_load((provisioning / "dashboards/andon.yml").read_text(encoding="utf-8"))["providers"][0][
        "options"
    ]
    assert f"./dashboards/generated:{path['path']}:ro" in SERVICES["grafana"]["volumes"]
    home = Path(environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == path["path"]
    assert (ROOT / "dashboards/generated" / home.name).is_file()
