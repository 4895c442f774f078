"""Renode's robot port: the XML-RPC of Robot Framework's remote library interface, which runs Monitor commands.

`run_keyword(name, arguments)` answers {"status": "PASS" | "FAIL", "return": text, "error": text}
(Robot Framework, "Remote library interface"; Renode, src/Renode/RobotFrameworkEngine/XmlRpcServer.cs).
"""

from __future__ import annotations

import http.client
import xmlrpc.client
from typing import TYPE_CHECKING, Any

from andon_workbench.rungs.renode.errors import RenodeError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    Connect = Callable[[str, int, float], socket.socket]


class RobotPort:
    """Runs keywords on one Renode. Not for several threads at once: Renode's monitor is one.

    Args:
        port: Renode's `--robot-server-port`, on loopback.
        connect: Opens a connection to host and port within a time limit; it may lead into a network namespace.
        limit_s: How long a command may take; one that lets virtual time pass takes as long as the host needs for it.
    """

    def __init__(self, port: int, connect: Connect, limit_s: float = 60.0) -> None:
        self.port = port
        # No built-in type of the protocol is converted; Renode sends text.
        self._server = xmlrpc.client.ServerProxy(
            f"http://127.0.0.1:{port}/", transport=_Transport(connect, limit_s), allow_none=False
        )

    def keyword(self, name: str, *arguments: str) -> str:
        """Run a keyword and return what it printed.

        Raises:
            RenodeError: it failed, is unknown, or Renode does not answer.
        """
        try:
            answer: Any = self._server.run_keyword(name, list(arguments))
        except xmlrpc.client.Fault as error:
            raise RenodeError(f"Renode: {error.faultString}") from error
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise RenodeError(f"Renode does not answer on its robot port {self.port}: {error}") from error
        if not isinstance(answer, dict) or answer.get("status") != "PASS":
            said = answer.get("error", "") if isinstance(answer, dict) else repr(answer)
            raise RenodeError(f"Renode: {' '.join([name, *arguments])}: {' '.join(str(said).split())}")
        return str(answer.get("return", "")).strip()

    def command(self, text: str) -> str:
        """Run one Monitor command and return what it printed."""
        return self.keyword("ExecuteCommand", text)


class _Transport(xmlrpc.client.Transport):
    """HTTP over a connection that somebody else opens, with a time limit."""

    def __init__(self, connect: Connect, limit_s: float) -> None:
        super().__init__()
        self._connect = connect
        self._limit_s = limit_s

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """A connection for each command: Renode's server closes idle ones without notice."""
        name, _, port = str(host).partition(":")
        connection = http.client.HTTPConnection(name, int(port), timeout=self._limit_s)
        connection.sock = self._connect(name, int(port), self._limit_s)
        return connection
