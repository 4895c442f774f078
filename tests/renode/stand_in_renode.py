"""A stand-in for Renode's robot port: the XML-RPC of XmlRpcServer.cs, in front of a few properties instead of a machine.

It is no Renode: it checks what the controller says and answers in Renode's form; whether Renode understands the same words is
for the rung itself to show (tests/e2e --board renode).
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, Self
from xmlrpc.server import SimpleXMLRPCServer

PROPERTIES = {
    "sysbus.gpioPortB.relay1 State": "True",
    "sysbus.gpioPortB.relay2 State": "False",
    "sysbus.gpioPortB.relay3 State": "perhaps",
    "version": "Renode, version 1.15.1.0 (stand-in)",
}


class StandInRenode:
    """Answers `run_keyword`, notes every command; what `refuse` names fails as Renode reports it."""

    def __init__(self, port: int = 0) -> None:
        self.commands: list[str] = []
        self.refuse: str | None = None
        self._server = SimpleXMLRPCServer(("127.0.0.1", port), logRequests=False)
        self._server.register_function(self.run_keyword, "run_keyword")  # type: ignore[arg-type]  # the stubs want other types of arguments
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def serve(self) -> None:
        """As a program: until it is killed."""
        self._server.serve_forever()

    def run_keyword(self, name: str, arguments: list[str]) -> dict[str, Any]:
        """The remote library interface of Robot Framework."""
        if name != "ExecuteCommand":
            raise ValueError(f'Keyword "{name}" not found')
        (text,) = arguments
        self.commands.append(text)
        if self.refuse is not None and self.refuse in text:
            return {"status": "FAIL", "error": f"KeywordException: There was an\nerror: {text}\n", "traceback": ""}
        return {"status": "PASS", "return": PROPERTIES.get(text, "") + "\r\n"}


if __name__ == "__main__":
    words = sys.argv[1:]
    if os.environ.get("STAND_IN_ENDS"):
        sys.exit("cannot open the display")
    StandInRenode(int(words[words.index("--robot-server-port") + 1])).serve()
