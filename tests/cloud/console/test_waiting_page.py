"""Adoption in a real Chromium: who waits, what it sent, and that nothing is adopted without a machine and a reason."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cloud.console.chromium import DESKTOP, PHONE, chromium, server, session, watched_page
from playwright.sync_api import BrowserContext, Page, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).with_name("memory_console.py")
expect.set_options(timeout=20_000)


class Room:
    """The knobs of the in-memory console."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def waits(self, **counts: int) -> None:
        self._client.post("/api/dev/waiting", json=counts).raise_for_status()

    def feed(self, **change: Any) -> None:
        self._client.post("/api/dev/feed", json=change).raise_for_status()

    def adopted(self) -> list[list[str]]:
        found: list[list[str]] = self._client.get("/api/dev/log").json()["adopted"]
        return found


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
    context, base, _ = memory
    with watched_page(context, base, request.param) as opened:
        yield opened


@pytest.fixture
def room(memory: tuple[BrowserContext, str, httpx.Client]) -> Iterator[Room]:
    client = memory[2]
    client.post("/api/dev/reset").raise_for_status()
    yield Room(client)
    client.post("/api/dev/reset").raise_for_status()


def test_the_head_leads_to_those_who_wait_and_a_node_is_adopted(page: Page, room: Room) -> None:
    page.goto("/")
    expect(page.get_by_role("article")).to_have_count(2)
    link = page.get_by_role("link", name="cannot report")
    expect(link).to_be_hidden()
    room.waits(nodes=1, keys=1, free=1)
    expect(link).to_contain_text("2 nodes cannot report")
    link.click()
    node = page.get_by_role("article", name="press-9 at gw-1")
    for text in ("192.0.2.9:5683", "12 packs wait", "temperature/0 41.19", "cycles/0 18\u202f231", "relay/0 on"):
        expect(node).to_contain_text(text)
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], "nothing is wider than the screen"

    node.get_by_role("button", name="Adopt press-9").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Adopt press-9?")).to_be_visible()
    go = dialog.get_by_role("button", name="Adopt press-9 on Press 9")
    go.click()
    expect(dialog.get_by_role("alert")).to_contain_text("reason is kept")
    assert room.adopted() == []
    dialog.get_by_label("Reason").fill("mounted by Kim today")
    go.click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_text("No node waits.")).to_be_visible()
    assert room.adopted() == [["gw-1", "press-9", "press-9", "mounted by Kim today", "console"]]


def test_the_machine_must_be_chosen_and_a_refusal_is_told(page: Page, room: Room) -> None:
    room.waits(nodes=2, free=1)  # only press-9 has a machine of its name
    page.goto("/waiting")
    page.get_by_role("button", name="Adopt press-10").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("spare board")
    dialog.get_by_role("button", name="Adopt", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("choose the machine")
    dialog.get_by_label("Mounted on").click()
    page.get_by_role("option", name="Press 9").click()
    room.feed(refuse="Machine press-9 already has node press-3; a machine has one node.")
    dialog.get_by_role("button", name="Adopt press-10 on Press 9").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Not adopted: Machine press-9 already has node press-3")
    assert room.adopted() == []
    dialog.get_by_role("button", name="Cancel").click()
    room.waits(nodes=1)
    expect(page.get_by_role("button", name="Adopt press-10")).to_have_count(0)
    page.get_by_role("button", name="Adopt press-9").click()
    expect(dialog).to_contain_text("Every machine has a node")


def test_unknown_keys_say_what_to_do(page: Page, room: Room) -> None:
    room.waits(keys=2)
    page.goto("/waiting")
    known = page.get_by_role("article", name="Keys 07 at gw-1")
    expect(known).to_contain_text("perhaps mill-2")
    expect(known).to_contain_text("31 messages refused")
    expect(known).to_contain_text("andon node provision")
    expect(page.get_by_role("article", name="Keys 08 at gw-1")).to_contain_text("Nobody has these keys")


def test_the_machines_page_says_what_its_node_runs(page: Page, room: Room) -> None:
    del room
    page.goto("/machines/press-1")
    expect(page.get_by_text("Node press-1 · firmware 1.3.0 · configuration 4 · heard")).to_be_visible()
