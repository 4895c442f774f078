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
    "sysbus.gpioPortC.relay1 State": "True",
    "sysbus.gpioPortC.relay2 State": "False",
    "version": "Renode, version 1.15.1.0 (stand-in)",
}
# So far virtual time goes on between two looks at it.
TICK_MS = 10


class StandInRenode:
    """Answers `run_keyword`, notes every command; what `refuse` names fails as Renode reports it."""

    def __init__(self, port: int = 0) -> None:
        self.commands: list[str] = []
        self.refuse: str | None = None
        self.virtual_ms = 0
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
        if text == "currentTime":
            self.virtual_ms += TICK_MS
            said = (
                f"Current virtual time: 00:01:{self.virtual_ms / 1000:09.6f}\r\nCurrent real time: 00:07:00.000001\r\n"
            )
            return {"status": "PASS", "return": said}
        return {"status": "PASS", "return": PROPERTIES.get(text, "") + "\r\n"}


if __name__ == "__main__":
    words = sys.argv[1:]
    if os.environ.get("STAND_IN_ENDS"):
        sys.exit("cannot open the display")
    StandInRenode(int(words[words.index("--robot-server-port") + 1])).serve()
