"""Ports: is one free, and which setting moves it."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from random import SystemRandom

from andon_workbench.errors import PortInUseError

LOOPBACK = "127.0.0.1"
_LOCAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_LOCAL_RANGE = 32768
_FIRST_PORT = 10_000
_TRIES = 100


def require_free_tcp(port: int, *, option: str, variable: str) -> None:
    """Check that a TCP port of the loopback can be bound (0 always can).

    Raises:
        PortInUseError: it is taken; the message names the option and the make variable that move it.
    """
    _require_free(socket.SOCK_STREAM, port, f"port {port}/tcp", option, variable)


def require_free_udp(port: int, *, option: str, variable: str) -> None:
    """The same as `require_free_tcp` for a UDP port."""
    _require_free(socket.SOCK_DGRAM, port, f"port {port}/udp", option, variable)


def free_tcp_port() -> int:
    """A port that is free now, for programs that cannot bind port 0 and say which they got."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def lasting_port() -> int:
    """A port, free for TCP and UDP, that a server can take again after it was killed.

    The system hands out the ports of its own range to every socket that asks for any: between a kill and the next start
    another process may have got it. So this one comes from below that range.
    """
    first_given_out = int(_LOCAL_RANGE.read_text().split()[0]) if _LOCAL_RANGE.is_file() else _USUAL_LOCAL_RANGE
    candidates = range(_FIRST_PORT, first_given_out)
    for port in SystemRandom().sample(candidates, min(_TRIES, len(candidates))):
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind((LOOPBACK, port))
                udp.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    return free_tcp_port()


def _require_free(kind: socket.SocketKind, port: int, name: str, option: str, variable: str) -> None:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            # A listener that has just ended leaves connections in TIME_WAIT; servers bind over them, so must the probe.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            why = "in use" if error.errno == errno.EADDRINUSE else "not allowed"
            raise PortInUseError(f"{name} is {why}: choose another with {option} (make variable {variable})") from error
