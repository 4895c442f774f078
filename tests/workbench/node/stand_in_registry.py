"""A stand-in for the cloud's registry, so that a test can look at what it was asked; e2e tests use the real cloud."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class StandInRegistry:
    """`GET` and `POST /api/v1/nodes`, `POST /api/v1/nodes/{id}/credentials` with a fixed secret."""

    def __init__(self, secret: str) -> None:
        self.nodes: dict[str, dict[str, str]] = {}
        self.tokens: set[str | None] = set()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.tokens.add(self.headers["Authorization"])
                self._answer(200, list(registry.nodes.values()))

            def do_POST(self) -> None:
                registry.tokens.add(self.headers["Authorization"])
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                if self.path.endswith("/credentials"):
                    keys = {"secret": secret, "salt": "0011223344556677", "sender_id": "01", "recipient_id": "00"}
                    self._answer(201, {"node": self.path.split("/")[-2], "created_ms": 1} | keys)
                    return
                node = json.loads(body)
                registry.nodes[node["id"]] = node
                self._answer(201, node)

            def _answer(self, status: int, document: object) -> None:
                data = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
                """Be quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
