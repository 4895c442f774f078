"""The panel of configurations in a real Chromium: nothing is sent without a file and a reason, and the node's refusal is readable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from cloud.console.chromium import DESKTOP, PHONE, chromium, server, session, watched_page
from playwright.sync_api import BrowserContext, Page, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).with_name("memory_console.py")
expect.set_options(timeout=20_000)
REFUSAL = "4.03 relays: a change needs the site's signature (PUT /config?sig=...)"


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BrowserContext, str, httpx.Client]]:
    with (
        chromium() as browser,
        server(str(SCRIPT), "--machines", "2", cwd=tmp_path_factory.mktemp("console")) as base,
        session(browser, base) as context,
        httpx.Client(base_url=base) as client,
    ):
        yield context, base, client


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(request: pytest.FixtureRequest, memory: tuple[BrowserContext, str, httpx.Client]) -> Iterator[Page]:
    context, base, client = memory
    client.post("/api/dev/reset").raise_for_status()
    with watched_page(context, base, request.param) as opened:
        yield opened


def test_from_the_file_to_the_nodes_refusal(
    page: Page, memory: tuple[BrowserContext, str, httpx.Client], tmp_path: Path
) -> None:
    _, base, client = memory
    page.goto(f"{base}/machines/press-1")
    panel = page.get_by_role("region", name="Configurations")
    expect(panel).to_contain_text("None was sent over the network yet")
    panel.get_by_role("button", name="New configuration for press-1").click()
    dialog = page.get_by_role("dialog")
    send = dialog.get_by_role("button", name="Send to the node")
    send.click()
    expect(dialog.get_by_role("alert")).to_contain_text("choose the file")
    file = tmp_path / "press-1.json"
    file.write_text(json.dumps({"node": "press-1", "revision": 5}))
    dialog.locator("input[type=file]").set_input_files(file)
    expect(dialog).to_contain_text(f"press-1.json: {file.stat().st_size} bytes")
    send.click()
    expect(dialog.get_by_role("alert")).to_contain_text("say why")
    dialog.get_by_label("Reason").fill("second thermometer")
    send.click()
    expect(dialog).to_be_hidden()
    expect(panel).to_contain_text("Configuration 5 of press-1, not signed")
    expect(panel).to_contain_text("Ordered")
    client.post("/api/dev/configuration/refused", params={"detail": REFUSAL}).raise_for_status()
    expect(panel).to_contain_text(REFUSAL)
    expect(panel).to_contain_text("Refused")
    page.screenshot(path=tmp_path / "panel.png", full_page=True)


def test_what_the_cloud_refuses_stands_in_the_dialog(
    page: Page, memory: tuple[BrowserContext, str, httpx.Client], tmp_path: Path
) -> None:
    _, base, client = memory
    client.post("/api/dev/feed", json={"refuse": "node: expected press-1"}).raise_for_status()
    page.goto(f"{base}/machines/press-1")
    page.get_by_role("button", name="New configuration for press-1").click()
    dialog = page.get_by_role("dialog")
    file = tmp_path / "press-2.json"
    file.write_text("{}")
    dialog.locator("input[type=file]").set_input_files(file)
    expect(dialog).to_contain_text("press-2.json: 2 bytes")
    dialog.get_by_label("Reason").fill("test")
    dialog.get_by_role("button", name="Send to the node").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Not sent: node: expected press-1")
    page.screenshot(path=tmp_path / "dialog.png", full_page=True)
