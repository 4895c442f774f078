"""The login page: asks for the API token when the installation has one; a plain form, so password managers work."""

from __future__ import annotations

from nicegui import ui

from andon_cloud.console.dom import Text, tag

MAX_ACTOR = 60


def build_login_page(target: str, *, refused: bool) -> None:
    """Build the login page in the current NiceGUI client.

    Args:
        target: Path to go to afterwards.
        refused: Whether the last try had a wrong token.
    """
    with tag("main", "login"), tag("form", "login-card", method="post", action="/login"):
        with tag("span", "brand-mark", aria_hidden="true"):
            for colour in ("red", "amber", "green"):
                tag("span", f"lamp lamp-{colour}")
        Text("h1", "Andon", "login-title")
        if refused:
            Text("p", "That token is not the right one. Ask whoever runs this installation.", "ask-error", role="alert")
        _field(name="target", type="hidden", value=target)
        Text("label", "Your name (kept with the commands you give)", "login-label", **{"for": "actor"})
        _field(name="actor", autocomplete="name", maxlength=str(MAX_ACTOR))
        Text("label", "Access token", "login-label", **{"for": "token"})
        _field(name="token", type="password", autocomplete="current-password", required="required")
        Text("button", "Log in", "login-button", type="submit")


def _field(name: str, **attributes: str) -> None:
    # NiceGUI numbers its elements' ids itself; a label needs the id that it names.
    field = ui.element("input").classes("login-field")
    field.props["id"] = name
    field.props["name"] = name
    for key, value in attributes.items():
        field.props[key] = value
