from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from andon_workbench.board import find_micropython
from andon_workbench.bundle.keys import public_half
from andon_workbench.checkout import find_checkout
from andon_workbench.node import advice, coap
from andon_workbench.node.bundle import Bundle, build_bundle
from andon_workbench.node.config import activate_config, parse, sign, touched_outputs, value_at, with_value
from andon_workbench.node.deploy import plan_deployment
from andon_workbench.node.errors import ConfigRefusedError, NodeError
from andon_workbench.node.flash import EsptoolFlasher, ImageFlasher
from andon_workbench.node.label import Label, fingerprint
from andon_workbench.node.provision import BOOT_FILE, NodeKeys, seed_boot_number, spare_flash

KEYS = {
    "secret": "00112233445566778899aabbccddeeff",
    "salt": "0011223344556677",
    "sender_id": "01",
    "recipient_id": "00",
}


@pytest.mark.parametrize(
    ("heard", "word"),
    [
        (b"", "nothing answers"),
        (b"\r\n\x00", "nothing answers"),
        (b"rst:0x1 (POWERON_RESET)\r\nwaiting for download\r\n", "bootloader"),
        (b"rst:0x10\r\ninvalid header: 0xffffffff\r\n" * 5, "no MicroPython"),
        (b"rst:0xc\r\nGuru Meditation Error\r\n" * 3, "restarts over and over"),
        (b"rst:0xf\r\nBrownout detector was triggered\r\n" * 3, "supply"),
        (bytes(range(128, 256)), "noise"),
        (b"node: press-7 boot 3\r\nwifi: connected\r\n", "Ctrl-C does not stop it"),
    ],
)
def test_advice_fits_what_was_heard(heard: bytes, word: str) -> None:
    text = advice.for_silence("/dev/ttyUSB0", heard)
    assert text.startswith("/dev/ttyUSB0: ")
    assert word in text
    assert "\n" not in text


def test_advice_for_ports() -> None:
    assert "usermod -aG dialout" in advice.for_permission("/dev/ttyUSB0", "dialout")
    assert "/dev/ttyACM0" in advice.for_missing("/dev/ttyUSB0", ["/dev/ttyACM0"])
    assert "data cable" in advice.for_missing("/dev/ttyUSB0", [])


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ("Traceback\n  x\nOSError: [Errno 28] ENOSPC\n", "flash is full"),
        ("MemoryError: memory allocation failed", "memory"),
    ],
)
def test_advice_for_errors_of_the_board(error: str, word: str) -> None:
    assert word in advice.for_board_error(error)


names = st.text("abc/", min_size=1, max_size=6)


@given(st.dictionaries(names, st.binary(max_size=4)), st.dictionaries(names, st.binary(max_size=4)))
def test_plan_turns_any_board_into_the_bundle(wanted: dict[str, bytes], there: dict[str, bytes]) -> None:
    bundle = Bundle(wanted)
    on_board = {path: Bundle(there).digest(path) for path in there}
    plan = plan_deployment(bundle, on_board)
    after = {path: data for path, data in there.items() if path not in plan.stale}
    after |= {path: wanted[path] for path in plan.changed}
    assert after == wanted
    assert not set(plan.changed) & set(plan.same)


def test_plan_starts_the_new_firmware_last() -> None:
    bundle = Bundle({"main.py": b"m", "boot.py": b"b", "andon_node/z.py": b"z"})
    assert plan_deployment(bundle, {}).changed == ("andon_node/z.py", "boot.py", "main.py")


def test_bundle_has_no_sim_and_both_forms_have_the_same_modules() -> None:
    firmware = Path(__file__).parents[3] / "firmware"
    sources, compiled = (build_bundle(firmware, compiled=flag).files for flag in (False, True))
    assert {path.removesuffix(".py") for path in sources} == {
        path.removesuffix(".mpy").removesuffix(".py") for path in compiled
    }
    assert not any(path.startswith("sim") for path in sources)
    assert {"boot.py", "main.py"} <= compiled.keys()
    assert all(data[:2] == b"M\x06" for path, data in compiled.items() if path.endswith(".mpy"))


def test_source_that_does_not_compile_is_named(tmp_path: Path) -> None:
    for package in ("andon_base", "andon_node"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "andon_node/bad.py").write_text("def f(:\n")
    for name in ("boot.py", "main.py"):
        (tmp_path / name).touch()
    with pytest.raises(NodeError, match=r"andon_node/bad\.py does not compile"):
        build_bundle(tmp_path, compiled=True)


def test_values_by_path() -> None:
    document: dict[str, Any] = {"wifi": {"ssid": "a"}, "temperature": [{"pin": "W1"}]}
    assert value_at(document, "temperature.0.pin") == "W1"
    changed = with_value(document, "temperature.0.pin", "W2")
    assert changed["temperature"][0]["pin"] == "W2"
    assert document["temperature"][0]["pin"] == "W1"
    assert with_value(document, "wifi.power", "true")["wifi"]["power"] is True
    assert with_value({}, "gateway.port", "5683") == {"gateway": {"port": 5683}}
    for path in ("wifi.none", "temperature.1", "temperature.x", "wifi.ssid.x"):
        with pytest.raises(NodeError):
            value_at(document, path)
    with pytest.raises(ConfigRefusedError, match="expected JSON"):
        parse("{")
    with pytest.raises(ConfigRefusedError, match="expected a JSON object"):
        parse("[]")


def test_keys_show_themselves_nowhere() -> None:
    keys = NodeKeys({"node": "press-7", **KEYS})
    for shown in (repr(keys), str(keys), f"{keys}", keys.fingerprint):
        assert KEYS["secret"] not in shown
        assert KEYS["salt"] not in shown
    assert keys.fingerprint != NodeKeys({**KEYS, "secret": "1" * 32}).fingerprint
    with pytest.raises(NodeError, match="lack secret"):
        NodeKeys({"salt": "00"})


def test_label_forms(tmp_path: Path) -> None:
    label = Label("press-7", "press-7", fingerprint(b"\0" * 32))
    for name in ("label.png", "label.svg", "label.txt"):
        label.save(tmp_path / name)
    assert (tmp_path / "label.png").read_bytes().startswith(b"\x89PNG")
    assert "press-7" in (tmp_path / "label.txt").read_text()
    assert "fp=" + label.fingerprint in label.text
    with pytest.raises(NodeError, match=r"\.png, \.svg, \.txt"):
        label.save(tmp_path / "label.pdf")
    with pytest.raises(NodeError, match="No such folder"):
        label.save(tmp_path / "nowhere/label.png")


def test_esptool_is_told_chip_port_and_offset(tmp_path: Path) -> None:
    """No chip is here: what esptool would be called with is looked at instead."""
    image = tmp_path / "micropython.bin"
    image.write_bytes(b"\xe9" + bytes(100))
    calls: list[list[str]] = []

    def run(arguments: list[str]) -> int:
        calls.append(arguments)
        return len(calls) - 1

    flasher = EsptoolFlasher("/dev/ttyUSB0", "esp32", image, run)  # type: ignore[arg-type]  # a list is the sequence it gets
    with pytest.raises(NodeError, match="could not write flash"):
        flasher.flash(lambda _done, _total: None)
    common = ["--chip", "esp32", "--port", "/dev/ttyUSB0", "--baud", "460800"]
    assert calls == [[*common, "erase-flash"], [*common, "write-flash", "0x1000", str(image)]]


def test_flash_refuses_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>")
    with pytest.raises(NodeError, match="no ESP32 image"):
        EsptoolFlasher("/dev/ttyUSB0", "esp32", tmp_path / "page.html", lambda _arguments: 0)
    with pytest.raises(NodeError, match="expected the flash image"):
        ImageFlasher("/dev/pts/9", tmp_path / "none.img")


def test_coap_request_is_the_one_of_rfc_7252() -> None:
    assert coap.request("time", 0x6102, b"") == b"\x40\x01\x61\x02\xb4time"
    answer = b"\x64\x45\x61\x02abcd\xc1\x32\xff{}"
    assert coap.read_response(answer, b"abcd") == (0x45, b"{}")
    assert coap.read_response(answer, b"abce") is None
    assert coap.read_response(b"\x70\x00\x61\x02", b"") is None


@given(st.binary(max_size=64))
def test_coap_reader_takes_any_datagram(datagram: bytes) -> None:
    coap.read_response(datagram, b"abcd")


RELAYS = [{"channel": 0, "pin": "RELAY1", "safe": False}]
RUNNING: dict[str, Any] = {"version": 1, "node": "press-7", "revision": 3, "board": "esp32-devkit", "relays": RELAYS}
FIRMWARE = find_checkout().firmware


def test_the_firmware_takes_the_signature_that_is_made_here(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    (tmp_path / "site_key.hex").write_text(public_half(key))
    document = json.dumps(RUNNING | {"revision": 4}).encode()
    made = sign(document, key)
    source = (
        f"import sys, asyncio\nsys.path[:0] = [{str(FIRMWARE)!r}, {str(FIRMWARE / 'sim')!r}]\n"
        "from andon_node.config_change import check_signature\n"
        "for body in sys.argv[1], sys.argv[1] + ' ':\n"
        "    print(asyncio.run(check_signature('relays', body.encode(), sys.argv[2])))\n"
    )
    script = tmp_path / "check.py"
    script.write_text(source)
    done = subprocess.run(
        [find_micropython(), "-X", "heapsize=2m", script, document, made],
        capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["None", "sig: not the site's signature of this document"], done.stderr


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        ({"sample_ms": 2000}, None),
        ({"hold_s": 60}, "hold_s"),
        ({"relays": []}, "relays"),
        ({"interlocks": [{}], "sample_ms": 2000}, "interlocks"),
        ({"pack_ms": 60_000, "wifi": {"ssid": "x"}}, None),
    ],
)
def test_the_firmware_says_what_must_be_signed(change: dict[str, Any], touched: str | None) -> None:
    after = json.dumps(RUNNING | {"revision": 4} | change).encode()
    assert touched_outputs(RUNNING, after, FIRMWARE) == touched


def test_what_no_node_would_take_is_not_signed() -> None:
    for change, word in (({"revision": 3}, "revision"), ({"revision": 4, "node": "oven-1"}, "node")):
        with pytest.raises(NodeError, match=word):
            touched_outputs(RUNNING, json.dumps(RUNNING | change).encode(), FIRMWARE)


class StandInBoard:
    """A board as far as provisioning asks: its platform and its boot number. (No real ESP32 is here.)"""

    def __init__(self, platform: str, boot: bytes | None = None) -> None:
        self.platform = platform
        self.files = {} if boot is None else {BOOT_FILE: boot}

    def evaluate(self, _expression: str) -> str:
        return self.platform

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def replace(self, path: str, data: bytes) -> None:
        self.files[path] = data

    def sha256(self, path: str) -> bytes:
        return hashlib.sha256(self.files[path]).digest()


WATCHED = """
import os as flash
class os:
    listdir = flash.listdir
    @staticmethod
    def rename(old, new):
        flash.rename(old, new)
        looked()
    @staticmethod
    def remove(name):
        flash.remove(name)
        looked()
def looked():
    with open("config.json") as file:
        print(file.read())
"""


def test_a_power_cut_while_a_configuration_is_activated_leaves_one(tmp_path: Path) -> None:
    """After each change of the flash there is a whole config.json."""
    for name, text in (
        ("config.json", "old"),
        ("config.try", "new"),
        ("config.bak", "older"),
        ("candidate.1", "tried"),
    ):
        (tmp_path / name).write_text(text)
    said: list[str] = []

    class Board:
        def run(self, code: str) -> str:
            done = subprocess.run(
                [find_micropython(), "-c", WATCHED + code],
                capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True,
            )  # fmt: skip
            said.extend(done.stdout.split())
            return done.stdout

    board: Any = Board()
    activate_config(board)
    assert said == ["new", "new"], "one rename, and then the document that the node had on trial goes"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"config.json": "new", "config.bak": "old"}
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.try").write_text("first")
    activate_config(board)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"config.json": "first", "config.bak": "old"}


def test_a_real_board_spares_its_flash_unless_told_otherwise() -> None:
    for platform, document, pack_ms in (("esp32", {}, 10_000), ("esp32", {"pack_ms": 500}, 500), ("linux", {}, None)):
        board: Any = StandInBoard(platform)
        given: dict[str, Any] = dict(document)
        spare_flash(board, given)
        assert given.get("pack_ms") == pack_ms


@given(st.one_of(st.none(), st.integers(0, 2**31), st.just(-1)), st.integers(1_764_000_000, 4_000_000_000))
def test_boot_numbers_only_grow_and_fit_32_bits(before: int | None, now_s: int) -> None:
    board: Any = StandInBoard("esp32", {None: None, -1: b"torn\xff"}.get(before, str(before).encode()))
    number = seed_boot_number(board, now_s)
    assert number == int(board.files[BOOT_FILE]) < 2**32
    assert number >= max(before or 0, now_s - 1_735_689_600)
    assert seed_boot_number(board, now_s) == number
