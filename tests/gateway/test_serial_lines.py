"""Wired nodes at the real gateway: a pty where the serial port would be."""

from __future__ import annotations

import os
import select
import time
import tty
from typing import TYPE_CHECKING

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import pytest
from gateway.gateway_process import GatewayProcess
from gateway.packs import pack, temperature

from andon_gateway.errors import SettingsError
from andon_gateway.serial import slipmux
from andon_gateway.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.stand_in_cloud import StandInCloud

LIMIT_S = 60.0


class WiredNode:
    """A node's end of the wire, and the port's name, which outlives the pty behind it."""

    def __init__(self, port: Path) -> None:
        self.port = port
        self._master = self._slave = -1
        self._decoder = slipmux.Decoder()
        self._mid = 0

    def plug(self) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port.symlink_to(os.ttyname(self._slave))

    def unplug(self) -> None:
        self.port.unlink(missing_ok=True)
        os.close(self._master)
        os.close(self._slave)

    def write(self, data: bytes) -> None:
        os.write(self._master, data)

    def read(self, limit_s: float) -> list[aiocoap.Message]:
        if not select.select([self._master], [], [], limit_s)[0]:
            return []
        return [aiocoap.Message.decode(data) for data in self._decoder.feed(os.read(self._master, 4096)).messages]

    def post(self, payload: bytes, *, before: bytes = b"") -> aiocoap.Message:
        """One exchange: repeated until it is answered, as a node does."""
        self._mid += 1
        message = aiocoap.Message(code=aiocoap.POST, payload=payload, uri_path=["t"], content_format=112)
        token = self._mid.to_bytes(2, "big")
        message.mtype, message.mid, message.token = aiocoap.CON, self._mid, token
        frame = slipmux.encode(message.encode())
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            self.write(before + frame)
            for answer in self.read(0.5):
                # A busy gateway acknowledges first, without token, and answers in a message of its own (RFC 7252 5.2.2).
                if answer.mtype == aiocoap.CON:
                    self.write(slipmux.encode(b"\x60\x00" + answer.mid.to_bytes(2, "big")))
                if answer.code != aiocoap.EMPTY and answer.token == token:
                    return answer
        raise TimeoutError("no answer")


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[WiredNode]:
    node = WiredNode(tmp_path / "ttyTEST")
    node.plug()
    yield node
    node.unplug()


@pytest.fixture
def gateway(tmp_path: Path, cloud: StandInCloud, wire: WiredNode) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path, cloud.url, f'[[serial]]\nport = "{wire.port}"\n').start()
    yield process
    process.kill()


def serial(gateway: GatewayProcess, name: str, kind: str = "") -> float:
    for line in gateway.get("/metrics").splitlines():
        if line.startswith(f"andon_gateway_serial_{name}{{") and (not kind or f'kind="{kind}"' in line):
            return float(line.split()[1])
    raise AssertionError(name)


def test_packs_are_answered_once_they_are_durable(gateway: GatewayProcess, wire: WiredNode) -> None:
    for seq in range(5):
        assert wire.post(pack("press-1", 1, seq, temperature(20.0 + seq))).code == aiocoap.CHANGED
    assert wire.post(pack("press-1", 1, 4, temperature(24.0))).code == aiocoap.CHANGED
    assert wire.post(b"\x01").code == aiocoap.BAD_REQUEST
    assert gateway.metric("packs_total") == 5
    assert gateway.metric("duplicate_packs_total") >= 1
    assert serial(gateway, "open") == 1


def test_noise_costs_the_frame_that_it_hits_only(gateway: GatewayProcess, wire: WiredNode) -> None:
    for seq, noise in enumerate(
        (b"\x00\xff\x55", b"\xdb\xdb", b"\xc0\xa9\x01\x02", os.urandom(300), b"\xc0\x0ahello\xc0")
    ):
        assert wire.post(pack("press-1", 1, seq, temperature(20.0)), before=noise).code == aiocoap.CHANGED
    broken = bytearray(slipmux.encode(b"\x40\x00\x12\x34"))
    broken[3] ^= 0x10
    before = serial(gateway, "messages_total", "up")
    wire.write(bytes(broken))
    assert wire.post(pack("press-1", 1, 9, temperature(20.0))).code == aiocoap.CHANGED
    assert serial(gateway, "messages_total", "up") >= before + 1
    assert serial(gateway, "messages_total", "broken") >= 2
    assert gateway.metric("packs_total") == 6


def test_port_vanishes_and_returns(gateway: GatewayProcess, wire: WiredNode) -> None:
    assert wire.post(pack("press-1", 1, 0, temperature(20.0))).code == aiocoap.CHANGED
    wire.unplug()
    end = time.monotonic() + LIMIT_S
    while serial(gateway, "open") != 0:
        assert time.monotonic() < end
    wire.plug()
    assert wire.post(pack("press-1", 1, 1, temperature(20.0))).code == aiocoap.CHANGED
    assert serial(gateway, "open") == 1
    assert gateway.metric("packs_total") == 2


def test_a_missing_port_stops_nothing(tmp_path: Path, cloud: StandInCloud) -> None:
    process = GatewayProcess(tmp_path, cloud.url, f'[[serial]]\nport = "{tmp_path / "nothing"}"\n').start()
    try:
        assert serial(process, "open") == 0
    finally:
        process.kill()
    assert "trying again until it is there" in process.log.read_text()


@pytest.mark.parametrize(("line", "message"), [("baud = 1234", "serial.0.baud"), ("speed = 9600", "serial.0.speed")])
def test_settings_name_the_key(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        f'[gateway]\nid = "g"\nstate_dir = "{tmp_path}"\n[cloud]\nurl = "http://c"\n[[serial]]\nport = "/dev/x"\n{line}\n'
    )
    with pytest.raises(SettingsError, match=message):
        load_settings(path)
