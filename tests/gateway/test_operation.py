"""Configuration, start and stop, health: what a person who runs the gateway meets."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest
from gateway.packs import pack, temperature
from gateway.stand_in_cloud import TOKEN, StandInCloud, influx_error, wait_until
from gateway.udp_node import UdpNode
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from andon_gateway.cli import main
from andon_gateway.operations.http_api import build_http
from andon_gateway.operations.log import configure

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.gateway_process import GatewayProcess

GOOD = '[gateway]\nid = "gateway-1"\nstate_dir = "state"\n[cloud]\nurl = "http://127.0.0.1:8000"\n'


def check(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    config = tmp_path / "gateway.toml"
    config.write_text(text)
    status = main(["check", "--config", str(config)])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_a_good_file_is_called_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDON_GATEWAY_TOKEN", TOKEN)
    status, output = check(tmp_path, GOOD, capsys)
    assert status == 0
    first, *explained = output.splitlines()
    assert first == f"{tmp_path}/gateway.toml: good"
    assert "telemetry    http://127.0.0.1:8000, org andon, bucket telemetry, no limit of rate" in explained
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD.replace("gateway-1", "Gateway_1"), "gateway.id"),
        (GOOD.replace('id = "gateway-1"', ""), "gateway.id: Field required"),
        (GOOD.replace("http:", "ftp:"), "cloud.url"),
        (GOOD + "[coap]\nport = 70000\n", "coap.port"),
        (GOOD + "[coap]\nprot = 5683\n", "coap.prot: is no known key"),
        (GOOD + "[coap]\nworkers = 0\n", "coap.workers"),
        (GOOD + "[coap]\nworkers = 2\nfast_path = false\n", "coap: Value error, workers above 1 need fast_path"),
        (GOOD + "[spool]\ncommit_ms = 'fast'\n", "spool.commit_ms"),
        (GOOD + "[[", "not TOML"),
        (GOOD + '[coap]\nallow_unprotected = "press-7"\n', 'a list of node ids, such as ["press-7"], or "*"\n'),
        (GOOD + '[coap]\nallow_unprotected = ["Press 7"]\n', "coap.allow_unprotected: Value error, expected a list"),
        (GOOD + '[[serial]]\nport = "/dev/ttyS0"\n' * 2, "serial: Value error, /dev/ttyS0 is there twice"),
        (GOOD + 'token_file = "missing"\n', "cloud.token_file"),
        (GOOD, "ANDON_GATEWAY_TOKEN"),
    ],
)
def test_a_bad_file_gets_one_line_that_names_file_and_key(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    expected: str,
) -> None:
    monkeypatch.delenv("ANDON_GATEWAY_TOKEN", raising=False)
    status, output = check(tmp_path, text, capsys)
    assert status == 2
    assert output.count("\n") == 1
    assert str(tmp_path / "gateway.toml") in output
    assert expected in output


def test_a_file_in_another_encoding_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "gateway.toml"
    config.write_bytes(b"# B\xfcro\n" + GOOD.encode())
    assert main(["check", "--config", str(config)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "not UTF-8" in error


def test_a_state_folder_that_is_none_or_cannot_be_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDON_GATEWAY_TOKEN", TOKEN)
    (tmp_path / "file").touch()
    status, output = check(tmp_path, GOOD.replace('"state"', f'"{tmp_path}/file"'), capsys)
    assert (status, output.count("\n")) == (2, 1)
    assert "gateway.state_dir" in output
    # The kernel refuses to look, as it does for one who may not: root may everything, but not this.
    status, output = check(tmp_path, GOOD.replace('"state"', f'"{tmp_path}/{"x" * 300}"'), capsys)
    assert status == 0
    assert "rules        cannot be read (File name too long)" in output
    assert main(["dead-letters", "list", "--config", str(tmp_path / "gateway.toml")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(tmp_path / "none.toml")]) == 2
    assert "none.toml: cannot be read" in capsys.readouterr().err


def test_the_token_comes_from_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANDON_GATEWAY_TOKEN", raising=False)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert check(tmp_path, GOOD + f'token_file = "{tmp_path}/token"\n', capsys)[0] == 0


@pytest.mark.parametrize(("kind", "setting"), [(socket.SOCK_DGRAM, "coap.port"), (socket.SOCK_STREAM, "http.port")])
def test_a_port_in_use_is_one_line_with_the_setting(tmp_path: Path, kind: socket.SocketKind, setting: str) -> None:
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            holder.listen()
        port = holder.getsockname()[1]
        section, key = setting.split(".")
        ports = {"coap": 0, "http": 0, section: port}
        config = tmp_path / "gateway.toml"
        config.write_text(
            GOOD.replace('state_dir = "state"', f'state_dir = "{tmp_path}/state"')
            + "".join(f'[{name}]\nbind = "127.0.0.1"\n{key} = {number}\n' for name, number in ports.items())
        )
        done = subprocess.run(
            [sys.executable, "-m", "andon_gateway", "run", "--config", str(config)],
            capture_output=True, text=True, timeout=100, check=False, env={**os.environ, "ANDON_GATEWAY_TOKEN": TOKEN},
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert setting in done.stderr
    assert str(port) in done.stderr


def test_a_gateway_that_starts_on_a_full_disk_can_be_started_again_without_help(
    gateway: GatewayProcess, cloud: StandInCloud
) -> None:
    """The limit of a file's size stands for the disk's end: SQLite's files cannot be made."""
    cloud.rule = lambda _lines: influx_error(503, "unavailable", "starting")
    gateway.start()
    cloud.mount("press-7")
    with UdpNode(gateway.coap_port) as node:
        assert node.post(pack("press-7", 1, 0, temperature(1.5)), limit_s=60) == (2, 4)
    assert gateway.terminate() == 0  # a start after this needs new files; one after a kill finds them
    done = subprocess.run(
        [sys.executable, "-m", "andon_gateway", "run", "--config", str(gateway.config)],
        capture_output=True, text=True, timeout=100, check=False, env={**os.environ, "ANDON_GATEWAY_TOKEN": TOKEN},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )  # fmt: skip
    assert done.returncode == 75, "2 is not started again (deploy/andon-gateway.service)"
    assert done.stderr.count("\n") == 1
    assert "takes no data now" in done.stderr
    cloud.rule = None
    gateway.start()
    wait_until(lambda: cloud.values("temperature", "celsius"), "the reading after the restart")


def test_sigterm_stops_in_order_and_sends_what_is_there(gateway: GatewayProcess, cloud: StandInCloud) -> None:
    cloud.rule = lambda _lines: influx_error(503, "unavailable", "starting")
    gateway.start()
    cloud.mount("press-7")
    with UdpNode(gateway.coap_port) as node:
        for seq in range(5):
            assert node.post(
                pack("press-7", 1, seq, temperature(seq), base_ms=1_764_000_000_000 + seq), limit_s=10
            ) == (2, 4)
    wait_until(lambda: cloud.writes >= 2, "writes that fail")
    cloud.rule = None
    assert gateway.terminate() == 0
    assert len(cloud.values("temperature", "celsius")) == 5
    assert "Traceback" not in gateway.log.read_text()


def test_sigterm_with_the_cloud_away_keeps_everything_for_the_next_start(
    gateway: GatewayProcess, cloud: StandInCloud
) -> None:
    cloud.rule = lambda _lines: influx_error(503, "unavailable", "starting")
    gateway.start()
    cloud.mount("press-7")
    with UdpNode(gateway.coap_port) as node:
        assert node.post(pack("press-7", 1, 0, temperature(1.5)), limit_s=60) == (2, 4)
    assert gateway.terminate() == 0
    cloud.rule = None
    gateway.start()
    wait_until(lambda: cloud.values("temperature", "celsius"), "the reading after the restart")


def test_metrics_can_be_parsed_and_say_what_happened(gateway: GatewayProcess, cloud: StandInCloud) -> None:
    gateway.start()
    cloud.mount("press-7")
    with UdpNode(gateway.coap_port) as node:
        assert node.post(pack("press-7", 1, 0, temperature(1.5)), limit_s=60) == (2, 4)
        assert node.post(pack("unmounted", 1, 0, temperature(1.5)), limit_s=60) == (2, 4)
        assert node.post(b"\xff", limit_s=60) == (4, 0)
    wait_until(lambda: gateway.metric("points_written_total") == 1, "the point")
    wait_until(lambda: gateway.metric("quarantine_packs") == 1, "the unmounted node's pack to wait")
    families = {family.name: family for family in text_string_to_metric_families(gateway.get("/metrics"))}
    assert families["andon_gateway_packs"].samples[0].value == 2
    assert families["andon_gateway_refused_packs"].samples[0].labels == {"reason": "malformed"}
    assert families["andon_gateway_nodes_unknown"].samples[0].value == 1
    taken = {sample.labels["node"]: sample.value for sample in families["andon_gateway_node_packs"].samples}
    assert taken == {"press-7": 1, "unmounted": 1}
    (refused,) = [s for s in families["andon_gateway_node_refused_packs"].samples if s.value]
    assert refused.labels == {"node": "unmounted"}, "the node last heard from that address"
    assert json.loads(gateway.get("/healthz"))["healthy"] is True


@pytest.mark.parametrize(
    ("broken", "status"), [(None, 200), ("command_stream", 200), ("storage", 503), ("uplink_thread", 503)]
)
async def test_health_needs_the_disk_and_the_uplink_but_not_the_cloud(broken: str | None, status: int) -> None:
    parts = {part: part != broken for part in ("storage", "uplink_thread", "command_stream")}
    transport = httpx.ASGITransport(build_http(CollectorRegistry(), lambda: parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        answer = await client.get("/healthz")
    assert answer.status_code == status
    assert answer.json() == {"healthy": status == 200, **parts}


def test_a_log_event_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    import logging  # noqa: PLC0415 -- configured for this test only

    root = logging.getLogger()
    before = root.handlers[:]
    try:
        configure("info")
        logging.getLogger("andon_gateway.test").info("first %s", "x\ntime=2026-01-01 level=ERROR forged")
        lines = capsys.readouterr().err.splitlines()
    finally:
        root.handlers[:] = before
    assert len(lines) == 2
    assert lines[1].startswith("    ")
