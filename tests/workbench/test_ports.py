from __future__ import annotations

import socket
from pathlib import Path

import pytest

from andon_workbench import ports
from andon_workbench.ports import lasting_port


def test_a_lasting_port_is_free_for_both_and_never_given_out_by_the_system() -> None:
    given_out = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = {lasting_port() for _ in range(20)}
    assert len(found) > 1
    assert all(1024 <= port < given_out for port in found)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch, kind: socket.SocketKind) -> None:
    first = lasting_port()
    monkeypatch.setattr(ports, "_FIRST_PORT", first)
    monkeypatch.setattr(ports, "_LOCAL_RANGE", Path("/nonexistent"))
    monkeypatch.setattr(ports, "_USUAL_LOCAL_RANGE", first + 1)
    assert ports.lasting_port() == first
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", first))
        assert ports.lasting_port() != first
