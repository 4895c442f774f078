"""`andon demo` as a person or CI runs it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.timeout(450), pytest.mark.needs_capability("fleet")]

ANDON = Path(sys.executable).with_name("andon")
KEYS = {
    "nodes",
    "seconds",
    "taken",
    "stored",
    "missing",
    "duplicates",
    "cycles_true",
    "cycles_stored",
    "latency_ms",
    "commands",
    "console",
    "store",
}


def processes_of(marker: str) -> list[int]:
    """Processes whose environment carries the marker, zombies excluded."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if marker.encode() in environment:
                found.append(int(entry.name))
    return found


def demo(*options: str, marker: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ANDON, "demo", "--http-port", "0", "--coap-port", "0", "--influxdb-port", "0", *options],
        env={**os.environ, "ANDON_TEST_MARKER": marker},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def assert_complete(result: subprocess.CompletedProcess[str], *, store: str, nodes: int) -> None:
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    summary = json.loads(result.stdout.splitlines()[-1])
    assert set(summary) == KEYS
    assert summary["nodes"] == nodes
    assert summary["store"] == store
    assert summary["taken"] == summary["stored"] > 0
    assert summary["cycles_true"] == summary["cycles_stored"] > 0
    assert summary["missing"] == summary["duplicates"] == 0
    assert summary["commands"]["issued"] == summary["commands"]["confirmed"] > 0
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    assert 0 < summary["commands"]["p50_ms"] <= summary["commands"]["p99_ms"]


def test_six_machines_and_the_embedded_store(tmp_path: Path) -> None:
    result = demo("--seconds", "8", "--json", marker=str(tmp_path))
    assert_complete(result, store="embedded", nodes=6)
    assert processes_of(str(tmp_path)) == []


@pytest.mark.usefixtures("influxd")
def test_influxdb_as_the_store(tmp_path: Path) -> None:
    result = demo("--seconds", "8", "--nodes", "3", "--store", "influxdb", "--json", marker=str(tmp_path))
    assert_complete(result, store="influxdb", nodes=3)
    assert processes_of(str(tmp_path)) == []


def test_lossy_network(tmp_path: Path) -> None:
    result = demo("--seconds", "10", "--nodes", "3", "--loss", "20", "--seed", "3", "--json", marker=str(tmp_path))
    assert_complete(result, store="embedded", nodes=3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_cleanly_when_asked(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [ANDON, "demo", "--http-port", "0", "--coap-port", "0", "--nodes", "2"],
        env={**os.environ, "ANDON_TEST_MARKER": str(tmp_path), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "console:" in line:
                break
        else:
            pytest.fail("the demo ended before it named its console")
        process.send_signal(number)
        rest, _ = process.communicate(timeout=100)
        status = process.returncode
    assert "Traceback" not in rest
    assert status in {0, 130, 143}
    assert processes_of(str(tmp_path)) == []


def test_no_orphans_when_the_demo_itself_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [ANDON, "demo", "--http-port", "0", "--coap-port", "0", "--nodes", "2"],
        env={**os.environ, "ANDON_TEST_MARKER": str(tmp_path), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert any("console:" in line for line in process.stdout)
        assert len(processes_of(str(tmp_path))) > 3
        process.kill()
    end = time.monotonic() + 60
    while processes_of(str(tmp_path)):
        assert time.monotonic() < end, "orphans are left"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("option", "kind", "variable"),
    [("--http-port", socket.SOCK_STREAM, "HTTP_PORT"), ("--coap-port", socket.SOCK_DGRAM, "COAP_PORT")],
)
def test_port_in_use_is_one_line_that_names_the_setting(option: str, kind: socket.SocketKind, variable: str) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = str(taken.getsockname()[1])
        result = subprocess.run(
            [ANDON, "demo", "--seconds", "1", option, port], capture_output=True, text=True, timeout=100, check=False
        )
    assert result.returncode != 0
    said = (result.stdout + result.stderr).strip()
    assert len(said.splitlines()) == 1, said
    assert port in said
    assert option in said
    assert variable in said
