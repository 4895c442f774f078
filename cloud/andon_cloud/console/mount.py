"""Composition of the console: routes, sessions and the one pulse, mounted on the cloud's FastAPI app."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import nicegui
from fastapi import FastAPI, Form, Request
from fastapi.responses import RedirectResponse, Response
from nicegui import ui
from starlette.middleware.sessions import SessionMiddleware
from starlette.routing import Match, Mount

from andon_cloud.console.factory_page import build_factory_page
from andon_cloud.console.login_page import MAX_ACTOR, build_login_page
from andon_cloud.console.machine_page import build_machine_page
from andon_cloud.console.pulse import Pulse
from andon_cloud.console.waiting_page import build_waiting_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope

    from andon_cloud.console.feed import ConsoleFeed

RESERVED = ("/api/", "/healthz", "/metrics", "/docs", "/redoc", "/openapi.json")
"""Paths that stay the cloud's own: an unknown one is answered by the API's 404, not by a page."""

SESSION_S = 30 * 24 * 3600
"""A wall display must not ask for the token every morning."""

_HERE = Path(__file__).parent
_THEME = """<script>
    addEventListener('load', () => {
        const theme = new URLSearchParams(location.search).get('theme') ?? localStorage.getItem('andon-theme');
        if (theme === 'dark' || theme === 'light') Quasar.Dark.set(theme === 'dark');
    });
</script>"""


@dataclass(slots=True)
class Console:
    """What the pages need; one per process, because NiceGUI is one per process.

    Attributes:
        check_token: Tells, in constant time, whether a token opens the console; None leaves it open to everybody.
    """

    feed: ConsoleFeed
    pulse: Pulse
    check_token: Callable[[str], bool] | None
    name: str

    def admits(self, request: Request) -> bool:
        """Whether the request's session may see the console."""
        return self.check_token is None or request.session.get("andon_console") is True

    @staticmethod
    def actor(request: Request) -> str:
        """Who gives commands in this session."""
        return str(request.session.get("andon_actor") or "console")


class ConsoleMount(Mount):
    """A mount at the root that leaves the reserved paths to the cloud."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match everything but the reserved paths."""
        path = scope.get("path", "")
        if any(path == prefix or path.startswith(prefix) for prefix in RESERVED):
            return Match.NONE, {}
        return super().matches(scope)


def mount(
    app: FastAPI,
    feed: ConsoleFeed,
    *,
    api_token: str | None = None,
    check_token: Callable[[str], bool] | None = None,
    title: str = "Andon",
    now_ms: Callable[[], int] | None = None,
) -> None:
    """Mount the console at `/`; call it last, after every other route of the app.

    Args:
        app: The cloud's app.
        feed: Where the console's data comes from.
        api_token: The installation's token, if it has one: the console then asks for it. Sessions are signed with a key
            derived from it, so they outlive a restart and end when the token is changed.
        check_token: Compares a token with the installation's; default: constant-time comparison with `api_token`.
        title: Title of the browser's window.
        now_ms: Clock, milliseconds since the epoch.
    """
    clock = now_ms or (lambda: time.time_ns() // 1_000_000)
    check = check_token
    if api_token is not None and check is None:
        check = _comparison(api_token)
    console = Console(feed, Pulse(feed, clock), check, title)
    _forget_earlier_app()
    _routes(app, console)
    app.add_middleware(
        SessionMiddleware,
        secret_key=_session_key(api_token),
        session_cookie="andon_console",
        max_age=SESSION_S,
        same_site="lax",
    )
    ui.run_with(
        app,
        title=title,
        favicon=_HERE / "favicon.svg",
        dark=None,
        language="en-US",
        binding_refresh_interval=None,
        reconnect_timeout=10.0,
        tailwind=False,
        show_welcome_message=False,
    )
    _leave_reserved_paths(app)
    nicegui.app.on_shutdown(console.pulse.stop)


def _routes(app: FastAPI, console: Console) -> None:
    @app.post("/login", include_in_schema=False)
    async def login(
        request: Request,
        token: Annotated[str, Form()] = "",
        actor: Annotated[str, Form()] = "",
        target: Annotated[str, Form()] = "/",
    ) -> Response:
        if console.check_token is None or not console.check_token(token):
            return RedirectResponse("/login?refused=1", status_code=303)
        request.session["andon_console"] = True
        request.session["andon_actor"] = " ".join(actor.split())[:MAX_ACTOR]
        return RedirectResponse(_local(target), status_code=303)

    @ui.page("/login", title=f"{console.name}: log in")
    def login_page(target: str = "/", refused: int = 0) -> None:
        _dress()
        build_login_page(_local(target), refused=bool(refused))

    @ui.page("/")
    async def factory(request: Request) -> Response | None:
        if not console.admits(request):
            return RedirectResponse("/login", status_code=303)
        _dress()
        await build_factory_page(console.feed, console.pulse, console.actor(request))
        return None

    @ui.page("/waiting", title=f"{console.name}: nodes that cannot report")
    async def waiting(request: Request) -> Response | None:
        if not console.admits(request):
            return RedirectResponse("/login?target=/waiting", status_code=303)
        _dress()
        await build_waiting_page(console.feed, console.pulse, console.actor(request))
        return None

    @ui.page("/machines/{machine_id}", title=f"{console.name}: machine")
    async def machine(request: Request, machine_id: str) -> Response | None:
        if not console.admits(request):
            return RedirectResponse(f"/login?target=/machines/{quote(machine_id)}", status_code=303)
        _dress()
        await build_machine_page(machine_id, console.feed, console.pulse, console.actor(request))
        return None


def _dress() -> None:
    ui.add_head_html(f"<style>{_CSS}</style>{_THEME}")


_CSS = (_HERE / "console.css").read_text(encoding="utf-8")


def _local(target: str) -> str:
    """A path on this host, whatever a link put into the login form."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) else "/"


def _comparison(api_token: str) -> Callable[[str], bool]:
    expected = api_token.encode()
    return lambda token: hmac.compare_digest(token.encode(), expected)


def _session_key(api_token: str | None) -> str:
    if api_token is None:
        return secrets.token_urlsafe(32)
    return hmac.new(api_token.encode(), b"andon console session", hashlib.sha256).hexdigest()


def _forget_earlier_app() -> None:
    """Let a second app of the same process (tests) have the console: NiceGUI's inner app is a process-wide singleton."""
    nicegui.app.user_middleware.clear()
    nicegui.app.middleware_stack = None


def _leave_reserved_paths(app: FastAPI) -> None:
    for index, route in enumerate(app.router.routes):
        inner: Any = getattr(route, "app", None)
        if isinstance(route, Mount) and inner is nicegui.app:
            app.router.routes[index] = ConsoleMount("/", nicegui.app)
