"""`andon node ...` against an emulated board over its port, with the real mpremote underneath."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
import serial
from workbench.node.stand_in_registry import StandInRegistry

from andon_workbench.bundle.format import Bundle, decode
from andon_workbench.bundle.keys import make_key, read_key
from andon_workbench.checkout import find_checkout
from andon_workbench.node.bundle import build_bundle
from andon_workbench.node.deploy import hashes_in
from andon_workbench.node.link import BoardLink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from workbench.node.conftest import Bench

pytestmark = pytest.mark.timeout(400)

TEMPLATE = {
    "board": "esp32-devkit",
    "wifi": {"ssid": "andon-demo", "password": "geheim-7"},
    "coap_port": 0,
    "temperature": [{"channel": 0, "pin": "W1"}],
}
SECRET = "00112233445566778899aabbccddeeff"


@pytest.fixture
def registry() -> Iterator[StandInRegistry]:
    with StandInRegistry(SECRET) as running:
        yield running


@pytest.fixture(scope="module")
def measuring(bench: Bench) -> Bench:
    """The module's board with firmware and a configuration, put on by the commands."""
    from typer.testing import CliRunner  # noqa: PLC0415  one use, in a fixture of module scope

    from andon_workbench.cli import app  # noqa: PLC0415  same

    template = bench.folder / "template.json"
    template.write_text(json.dumps(TEMPLATE))
    with StandInRegistry(SECRET) as registry:
        identity = ("--node", "press-7", "--gateway-id", "gw-1", "--gateway", "127.0.0.1:9", "--cloud", registry.url)
        for words in (("deploy",), ("provision", *identity, "--template", str(template))):
            done = CliRunner().invoke(app, ["node", *words, "--port", bench.port], env={"COLUMNS": "200"})
            assert done.exit_code == 0, done.output
    return bench


def last_json(text: str) -> dict[str, object]:
    found = json.loads(text.strip().splitlines()[-1])
    assert isinstance(found, dict)
    return found


def on_board(bench: Bench, path: str) -> bytes:
    with BoardLink(bench.port) as board:
        return board.read(path)


def test_deployed_board_holds_exactly_the_compiled_checkout(measuring: Bench) -> None:
    bundle = build_bundle(find_checkout().firmware, compiled=True)
    with BoardLink(measuring.port) as board:
        found = hashes_in(board, bundle.packages, ("boot.py", "main.py"))
    assert found == {path: hashlib.sha256(data).digest() for path, data in bundle.files.items()}
    assert any(path.endswith(".mpy") for path in found)


def test_deploy_and_an_update_put_the_same_application_onto_a_board(measuring: Bench, tmp_path: Path) -> None:
    from typer.testing import CliRunner  # noqa: PLC0415  as above

    from andon_workbench.cli import app  # noqa: PLC0415  same

    path = tmp_path / "andon.fw"
    done = CliRunner().invoke(app, ["firmware", "build", "-o", str(path)])
    assert done.exit_code == 0, done.output
    brought = decode(path.read_bytes()).files
    with BoardLink(measuring.port) as board:
        found = hashes_in(board, ["andon_node"])
    assert found == {name: hashlib.sha256(content).digest() for name, content in brought.items()}


def test_deploy_copies_only_what_changed_and_shows_the_nodes_start(
    measuring: Bench, andon: Callable[..., tuple[int, str]]
) -> None:
    with BoardLink(measuring.port) as board:
        board.write("andon_node/clock.mpy", b"M\x06broken")
        board.write("andon_node/old.py", b"x = 1")
    code, text = andon("deploy", "--port", measuring.port, "--json")
    assert code == 0, text
    done = last_json(text)
    assert done["changed"] == ["andon_node/clock.mpy"]
    assert done["removed"] == ["andon_node/old.py"]
    assert str(done["boot_line"]).startswith("node: press-7 boot ")
    code, text = andon("deploy", "--port", measuring.port)
    assert code == 0
    assert "0 files copied (0 bytes)" in text


def test_update_says_by_which_way_it_goes(measuring: Bench, andon: Callable[..., tuple[int, str]]) -> None:
    code, text = andon("update", "--port", measuring.port)
    assert code == 0
    assert "update by serial" in text
    assert "node: press-7 boot" in text


def test_provision_registers_writes_verifies_and_labels(
    measuring: Bench, registry: StandInRegistry, andon: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    started_s = int(time.time())
    template = tmp_path / "template.json"
    template.write_text(json.dumps(TEMPLATE))
    svg = tmp_path / "label.svg"
    site_key = tmp_path / "site.hex"
    site_key.write_text("ab" * 32 + "\n")
    code, text = andon(
        *("provision", "--port", measuring.port, "--node", "press-7", "--machine", "press-7", "--gateway-id", "gw-1"),
        *("--gateway", "10.0.0.5:5684", "--cloud", registry.url, "--template", template, "--set", "sample_ms=2000"),
        *("--label", svg, "--site-key", site_key, "--json"),
        ANDON_API_TOKEN="the-api-token",
    )
    assert code == 0, text
    assert registry.tokens == {"Bearer the-api-token"}
    assert registry.nodes == {"press-7": {"id": "press-7", "machine_id": "press-7", "gateway_id": "gw-1"}}
    done = last_json(text)
    config, keys = on_board(measuring, "config.json"), on_board(measuring, "keys.json")
    assert json.loads(keys)["secret"] == SECRET
    document = json.loads(config)
    assert (document["node"], document["sample_ms"]) == ("press-7", 2000)
    assert "pack_ms" not in document, "an emulated board has no flash to spare"
    # Seconds since 2025, and the starts since.
    assert 0 <= int(on_board(measuring, "boot.txt")) - (started_s - 1_735_689_600) < 3600
    assert document["gateway"] == {"host": "10.0.0.5", "port": 5684}
    assert done["files"] == {
        "config.json": hashlib.sha256(config).hexdigest(),
        "keys.json": hashlib.sha256(keys).hexdigest(),
        "site_key.hex": hashlib.sha256(b"ab" * 32).hexdigest(),
    }
    fingerprint = str(done["fingerprint"])
    assert fingerprint in svg.read_text()
    for place in (text, svg.read_text()):
        assert SECRET not in place
        assert "geheim-7" not in place
        assert "the-api-token" not in place


def test_keys_never_travel_back_over_the_console(
    own_bench: Bench, registry: StandInRegistry, andon: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    template = tmp_path / "template.json"
    template.write_text(json.dumps(TEMPLATE))
    words = ["--node", "press-7", "--gateway-id", "gw-1", "--gateway", "127.0.0.1:9", "--cloud", registry.url]
    code, text = andon("provision", "--port", own_bench.port, *words, "--template", template)
    assert code == 0, text
    code, text = andon("doctor", "--port", own_bench.port)
    assert code == 1
    assert "fingerprint" in text
    assert SECRET not in text
    assert SECRET.encode() not in own_bench.console.read_bytes()
    assert SECRET.encode() in own_bench.flash.read_bytes()


@pytest.mark.parametrize(
    ("machine", "gateway", "words"),
    [("press-9", "gw-1", "on machine press-9"), ("press-7", "gw-2", "at gateway gw-2")],
)
def test_provision_of_a_node_that_is_registered_elsewhere_is_refused(
    measuring: Bench,
    registry: StandInRegistry,
    andon: Callable[..., tuple[int, str]],
    tmp_path: Path,
    machine: str,
    gateway: str,
    words: str,
) -> None:
    registry.nodes["press-7"] = {"id": "press-7", "machine_id": machine, "gateway_id": gateway}
    template = tmp_path / "template.json"
    template.write_text(json.dumps(TEMPLATE))
    before = on_board(measuring, "keys.json")
    identity = ["--node", "press-7", "--gateway-id", "gw-1", "--gateway", "127.0.0.1", "--cloud", registry.url]
    code, text = andon("provision", "--port", measuring.port, *identity, "--template", template)
    assert code == 2
    assert f"press-7 is registered {words}" in text
    assert on_board(measuring, "keys.json") == before


def test_provision_with_a_bad_configuration_touches_neither_cloud_nor_board(
    measuring: Bench, registry: StandInRegistry, andon: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    template = tmp_path / "template.json"
    template.write_text(json.dumps(TEMPLATE | {"temperature": [{"channel": 0, "pin": "W9"}]}))
    before = on_board(measuring, "config.json")
    words = ["--node", "press-7", "--gateway-id", "gw-1", "--gateway", "127.0.0.1", "--cloud", registry.url]
    code, text = andon("provision", "--port", measuring.port, *words, "--template", template)
    assert code == 2
    assert "temperature[0].pin: expected a pin of esp32-devkit" in text
    assert registry.nodes == {}
    assert on_board(measuring, "config.json") == before


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--label", "label.pdf", "expected a name that ends in .png, .svg, .txt"),
        ("--label", "/nowhere/label.png", "No such folder"),
        ("--gateway", "10.0.0.5:coap", "expected HOST or HOST:PORT"),
        ("--gateway", "[fe80::1]:5683", "expected HOST or HOST:PORT"),
        ("--gateway", ":5683", "expected HOST or HOST:PORT"),
    ],
)
def test_what_provision_cannot_do_is_said_before_anything_is_done(
    registry: StandInRegistry, andon: Callable[..., tuple[int, str]], option: str, value: str, message: str
) -> None:
    words = {"--node": "press-7", "--gateway-id": "gw-1", "--gateway": "10.0.0.5", "--cloud": registry.url}
    words |= {"--port": "/dev/ttyNO7", option: value}
    code, text = andon("provision", *(word for pair in words.items() for word in pair))
    assert (code, len(text.splitlines())) == (2, 1), text
    assert message in text
    assert registry.nodes == {}


def test_config_get_set_and_refusal(measuring: Bench, andon: Callable[..., tuple[int, str]]) -> None:
    port = ("--port", measuring.port)
    assert andon("config", "get", "wifi.ssid", *port) == (0, "andon-demo\n")
    code, text = andon("config", "get", *port)
    assert code == 0
    assert "geheim-7" not in text
    before = on_board(measuring, "config.json")
    code, text = andon("config", "set", "sample_ms=50", *port)
    assert code == 2
    assert (
        text.strip()
        == "andon: config.json: sample_ms: expected a whole number from 100 to 3600000; nothing was changed"
    )
    assert on_board(measuring, "config.json") == before
    code, text = andon("config", "set", "sample_ms=3000", "temperature.0.channel=3", *port)
    assert code == 0, text
    assert json.loads(on_board(measuring, "config.json"))["temperature"][0]["channel"] == 3
    assert on_board(measuring, "config.bak") == before
    assert "no such place" in andon("config", "set", "temperature.7.pin=W1", *port)[1]


def test_config_edit_uses_the_editor(
    measuring: Bench, andon: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/"coap_port": [0-9]*/"coap_port": 5699/\' "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)
    code, text = andon("config", "edit", "--port", measuring.port)
    assert code == 0, text
    assert json.loads(on_board(measuring, "config.json"))["coap_port"] == 5699
    assert andon("config", "edit", "--port", measuring.port) == (0, "nothing changed\n")
    assert andon("config", "set", "coap_port=0", "--port", measuring.port)[0] == 0


def test_logs_follow_the_console(measuring: Bench, andon: Callable[..., tuple[int, str]]) -> None:
    code, text = andon("logs", "--restart", "--seconds", "3", "--port", measuring.port)
    assert code == 0
    assert "node: press-7 boot" in text


def test_doctor_finds_a_healthy_board_and_a_silent_gateway(
    measuring: Bench, andon: Callable[..., tuple[int, str]]
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        assert (
            andon("config", "set", "gateway.host=127.0.0.1", f"gateway.port={port}", "--port", measuring.port)[0] == 0
        )
        code, text = andon("doctor", "--port", measuring.port, "--json")
    assert code == 1
    document = json.loads(text.strip().splitlines()[-1])
    verdicts = {finding["check"]: finding["verdict"] for finding in document["findings"]}
    assert verdicts | {"health": ""} == {
        "port": "good",
        "REPL": "good",
        "MicroPython": "good",
        "memory": "good",
        "flash": "good",
        "firmware": "good",
        "configuration": "good",
        "keys": "good",
        "Wi-Fi": "good",
        "gateway": "bad",
        "clock": "skipped",
        "node": "good",
        "health": "",
    }
    assert all(finding["advice"] for finding in document["findings"] if finding["verdict"] == "bad")


def test_doctor_of_a_blank_board_names_the_next_step(own_bench: Bench, andon: Callable[..., tuple[int, str]]) -> None:
    code, text = andon("doctor", "--port", own_bench.port)
    assert code == 1
    assert "put it on with: andon node deploy" in text
    assert "make one with: andon node provision" in text


def test_flash_of_an_emulated_board_leaves_it_blank(own_bench: Bench, andon: Callable[..., tuple[int, str]]) -> None:
    with BoardLink(own_bench.port) as board:
        board.write("something.txt", b"left")
    code, text = andon("flash", "--port", own_bench.port, "--emulated", own_bench.flash)
    assert code == 0, text
    assert own_bench.mpremote("fs", "ls", ":").split() == ["ls", ":"]


def test_port_over_tcp(own_bench: Bench) -> None:
    """`socket://`: a serial server (ser2net or the like), here a few lines that copy bytes both ways."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server, serial.Serial(own_bench.port, timeout=0.05) as line:

        def serve() -> None:
            peer, _ = server.accept()
            peer.settimeout(0.01)
            with peer:
                while not stop.is_set():
                    data = line.read(line.in_waiting or 1)
                    if data:
                        peer.sendall(data)
                    try:
                        received = peer.recv(4096)
                    except TimeoutError:
                        continue
                    if not received:
                        return
                    line.write(received)

        copying = threading.Thread(target=serve)
        copying.start()
        try:
            with BoardLink(f"socket://127.0.0.1:{server.getsockname()[1]}") as board:
                assert board.evaluate("6 * 7") == 42
                board.write("tcp.txt", os.urandom(3000))
        finally:
            stop.set()
            copying.join(timeout=10)


def test_config_sign_prints_the_signature_and_never_the_key(
    andon: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    key = tmp_path / "site.key"
    make_key(key)
    running, wanted = tmp_path / "running.json", tmp_path / "wanted.json"
    document = TEMPLATE | {"version": 1, "node": "press-7", "gateway": {"host": "10.0.0.5"}, "revision": 1}
    running.write_text(json.dumps(document))
    relays = [{"channel": 0, "pin": "RELAY1", "safe": False}]
    wanted.write_text(json.dumps(document | {"revision": 2, "relays": relays}))
    code, text = andon("config", "sign", wanted, "--key", key, "--running", running)
    assert (code, "signature needed: relays" in text) == (0, True), text
    signature = bytes.fromhex(text.splitlines()[-1].removeprefix("sig="))
    read_key(key).public_key().verify(signature, b"andon config\n" + wanted.read_bytes())
    assert not any(line in text for line in key.read_text().splitlines())
    key.chmod(0o644)
    code, text = andon("config", "sign", wanted, "--key", key)
    assert (code, "others can read it" in text) == (2, True)
    wanted.write_text(json.dumps(document | {"sample_ms": 1}))
    key.chmod(0o600)
    code, text = andon("config", "sign", wanted, "--key", key)
    assert (code, "sample_ms: expected" in text) == (2, True)


def test_config_push_says_what_it_needs(andon: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    document = tmp_path / "press-7.json"
    nobody = "http://127.0.0.1:1"
    code, text = andon("config", "push", "press-7", document, "--reason", "test", "--cloud", nobody)
    assert (code, "press-7.json: No such file" in text) == (2, True), text
    document.write_text("{}")
    code, text = andon("config", "push", "press-7", document, "--reason", "test", "--cloud", nobody)
    assert (code, f"{nobody} does not answer" in text) == (2, True), text


def test_update_over_the_network_says_what_it_needs(andon: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    unsigned = tmp_path / "unsigned.fw"
    unsigned.write_bytes(Bundle("1.1.0", {"andon_node/a.mpy": b"M"}).encode())
    for words, word in (
        (("press-7",), "--bundle FILE"),
        (("press-7", "--bundle", tmp_path / "none.fw"), "andon firmware build"),
        (("press-7", "--bundle", unsigned), "not signed"),
        (("--bundle", unsigned), "name the NODE"),
    ):
        code, text = andon("update", *words)
        assert (code, word in text) == (2, True), text
