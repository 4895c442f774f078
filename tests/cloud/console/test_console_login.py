"""The console of an installation that has an API token."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from cloud.console.chromium import chromium, server, session, watched_page
from playwright.sync_api import Browser, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).with_name("memory_console.py")
TOKEN = "only-for-this-test-0123456789"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def base(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    del browser
    with server(str(SCRIPT), "--machines", "2", "--token", TOKEN, cwd=tmp_path_factory.mktemp("console")) as running:
        yield running


def test_the_token_opens_the_console_and_the_name_signs_the_commands(browser: Browser, base: str) -> None:
    with session(browser, base) as fresh, watched_page(fresh, base) as page:
        page.goto("/machines/press-1")
        expect(page.get_by_role("heading", name="Andon")).to_be_visible()
        page.get_by_label("Access token").fill("not the token")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("not the right one")
        page.goto("/machines/press-1")
        page.get_by_label("Your name").fill("  Anna\nBauer ")
        page.get_by_label("Access token").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="Press 1")).to_be_visible()
        page.get_by_role("switch").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Reason").fill("tool change")
        dialog.get_by_role("button", name="Open relay 0").click()
        expect(dialog).to_be_hidden()
        expect(page.get_by_role("region", name="Commands")).to_contain_text("by Anna Bauer")
        page.reload()
        expect(page.get_by_role("heading", name="Press 1")).to_be_visible()
        assert TOKEN not in page.content()


@pytest.mark.parametrize("path", ["/", "/machines/press-1"])
def test_without_a_session_nothing_is_shown(base: str, path: str) -> None:
    answer = httpx.get(base + path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")
    assert "Press" not in answer.text


def test_a_forged_session_is_worth_nothing(base: str) -> None:
    forged = "eyJhbmRvbl9jb25zb2xlIjogdHJ1ZX0=.aAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAA"
    assert httpx.get(base, cookies={"andon_console": forged}).status_code == 303


def test_the_session_cookie_is_out_of_reach_for_scripts(base: str) -> None:
    answer = httpx.post(f"{base}/login", data={"token": TOKEN})
    cookie = answer.headers["set-cookie"].lower()
    assert answer.status_code == 303
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert TOKEN.lower() not in cookie


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "evil"])
def test_the_login_leads_to_no_other_host(base: str, target: str) -> None:
    answer = httpx.post(f"{base}/login", data={"token": TOKEN, "target": target})
    assert answer.headers["location"] == "/"
