"""Guard for a cloud without a token: only requests that name this machine by a loopback name are answered.

A server on loopback is still reachable from every web page in a browser on the same machine: a page can point its own
host name at 127.0.0.1 (DNS rebinding) and would then switch relays. Its requests carry that host name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from andon_cloud.problems import Problem, problem_response
from andon_cloud.settings import PREFIX, is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class LoopbackNamesOnly:
    """ASGI middleware that refuses host names other than loopback's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on or answer it with 421 (RFC 9110 section 15.5.20)."""
        if scope["type"] in {"http", "websocket"} and not _names_loopback(Headers(scope=scope).get("host", "")):
            detail = f"Without {PREFIX}API_TOKEN this server answers only to localhost and 127.0.0.1; set a token."
            await problem_response(Problem(421, detail))(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _names_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)
