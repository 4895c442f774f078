"""The network around Renode: a namespace of its own where root allows, since Renode listens on all interfaces.

Inside the namespace are a TAP for the board and one end of a cable to this machine, both on a bridge without an address:
nobody outside can reach Renode's ports, while board and machine share a wire.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from andon_workbench.rungs.renode.errors import RenodeError

if TYPE_CHECKING:
    from collections.abc import Sequence

TAP = "ANDON_RENODE_TAP"
TAP_HOST = "ANDON_RENODE_HOST"
_CLONE_NEWNET = 0x40000000
_TAP_INSIDE = "tap0"
# 198.18.0.0/15 is for tests of networks (RFC 2544); the third number keeps two runs on a machine apart.
_NETWORK = "198.18.{}."
_FIREWALL_NOTE = (
    "note: Renode listens on all interfaces and here it has no network namespace of its own (that needs root and "
    "iproute2): close its ports to others, for example: nft add rule inet filter input iifname != lo tcp dport "
    "{ports} drop"
)


@dataclass(frozen=True, slots=True)
class Wire:
    """What the board's Ethernet is tied to: the TAP's name for Renode, this machine's and the board's address on it."""

    tap: str
    host: str
    board: str


class HostNetwork:
    """Without root: Renode beside everything else; a TAP only if somebody made one and named it in the environment."""

    wire: Wire | None = None

    def __enter__(self) -> Self:
        tap, host = os.environ.get(TAP), os.environ.get(TAP_HOST)
        if tap and host:
            head, _, last = host.rpartition(".")
            self.wire = Wire(tap, host, f"{head}.{int(last) % 253 + 1}")
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def prefix(self) -> list[str]:
        """Words before Renode's command line."""
        return []

    def note(self, ports: Sequence[int]) -> str | None:
        """What the person should know about the open ports."""
        return _FIREWALL_NOTE.format(ports=", ".join(map(str, ports)))

    def connect(self, host: str, port: int, limit_s: float) -> socket.socket:
        """Connect to a port of Renode."""
        return socket.create_connection((host, port), limit_s)


class NamespaceNetwork:
    """A network namespace for one Renode. A context manager: it is gone afterwards. `number` tells runs apart, 0 to 249."""

    def __init__(self, number: int) -> None:
        self._name = f"andon-{number}"
        self._outside = f"andon{number}"
        head = _NETWORK.format(number)
        self.wire = Wire(_TAP_INSIDE, f"{head}1", f"{head}2")

    @staticmethod
    def possible() -> bool:
        """Whether this process may make one."""
        return os.geteuid() == 0 and shutil.which("ip") is not None

    def __enter__(self) -> Self:
        self._ip("netns", "add", self._name)
        try:
            self._ip("link", "add", self._outside, "type", "veth", "peer", "name", "wire0", "netns", self._name)
            self._inside("link", "add", "bridge0", "type", "bridge")
            self._inside("tuntap", "add", _TAP_INSIDE, "mode", "tap")
            for name in (_TAP_INSIDE, "wire0"):
                self._inside("link", "set", name, "master", "bridge0")
            for name in ("lo", _TAP_INSIDE, "wire0", "bridge0"):
                self._inside("link", "set", name, "up")
            self._ip("address", "add", f"{self.wire.host}/24", "dev", self._outside)
            self._ip("link", "set", self._outside, "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # The cable goes with its other end.
        with contextlib.suppress(RenodeError):
            self._ip("netns", "delete", self._name)

    def prefix(self) -> list[str]:
        """Words before Renode's command line."""
        return ["ip", "netns", "exec", self._name]

    def note(self, ports: Sequence[int]) -> str | None:
        """Nothing to say: nobody outside reaches the ports."""
        del ports
        return None

    def connect(self, host: str, port: int, limit_s: float) -> socket.socket:
        """Connect to a port inside; a thread goes in for that, its socket stays usable from everywhere."""
        made: list[socket.socket] = []
        failed: list[OSError] = []

        def enter() -> None:
            try:
                inside = os.open(f"/run/netns/{self._name}", os.O_RDONLY)
                try:
                    if ctypes.CDLL(None, use_errno=True).setns(inside, _CLONE_NEWNET):
                        code = ctypes.get_errno()
                        raise OSError(code, os.strerror(code))
                finally:
                    os.close(inside)
                made.append(socket.create_connection((host, port), limit_s))
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=enter, name="network namespace")
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return made[0]

    def _inside(self, *words: str) -> None:
        self._ip("-n", self._name, *words)

    @staticmethod
    def _ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RenodeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def network_for(number: int) -> HostNetwork | NamespaceNetwork:
    """The best network that this process may have."""
    return NamespaceNetwork(number % 250) if NamespaceNetwork.possible() else HostNetwork()
