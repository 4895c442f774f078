"""The console in a real Chromium, over the in-memory feed in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cloud.console.chromium import PHONE, chromium, server, session, watched_page
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).with_name("memory_console.py")
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def running(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    del browser  # no server without the part that looks at it
    with server(str(SCRIPT), "--machines", "6", cwd=tmp_path_factory.mktemp("console")) as base:
        yield base


@pytest.fixture
def factory(running: str) -> Iterator[Factory]:
    with httpx.Client(base_url=running) as client:
        known = Factory(client, running)
        known.reset()
        yield known
        known.reset()


@pytest.fixture(scope="module")
def context(browser: Browser, running: str) -> Iterator[BrowserContext]:
    with session(browser, running) as opened:
        yield opened


@pytest.fixture
def page(context: BrowserContext, factory: Factory) -> Iterator[Page]:
    with watched_page(context, factory.base) as opened:
        yield opened


class Factory:
    """The knobs of the in-memory factory."""

    def __init__(self, client: httpx.Client, base: str) -> None:
        self.client = client
        self.base = base

    def _post(self, path: str, body: dict[str, Any] | None = None, **query: str) -> None:
        self.client.post(f"/api/dev/{path}", json=body or {}, params=query).raise_for_status()

    def reset(self) -> None:
        self._post("reset")

    def seat(self, machine: str, **change: Any) -> None:
        self._post(f"seat/{machine}", change)

    def feed(self, **change: Any) -> None:
        self._post("feed", change)

    def command(self, machine: str, status: str, detail: str = "") -> None:
        self._post(f"command/{machine}/{status}", detail=detail)

    def commands(self) -> list[dict[str, Any]]:
        commands: list[dict[str, Any]] = self.client.get("/api/dev/log").json()["commands"]
        return commands


def tile(page: Page, name: str, state: str) -> Locator:
    return page.get_by_role("article", name=f"{name}: {state}")


def ask(page: Page, name: str = "Press 1") -> Locator:
    """Click a machine's relay switch and give the dialog."""
    page.get_by_role("switch", name=f"Relay 0 of {name}").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    return dialog


def test_a_tile_shows_the_machine_and_its_values(page: Page, factory: Factory) -> None:
    factory.seat("press-1", temperature=41.26, cycles=18_231, rate=12.0)
    page.goto("/")
    press = tile(page, "Press 1", "Running")
    expect(press).to_contain_text("41.3")
    expect(press).to_contain_text("18\u202f231")
    expect(press).to_contain_text("12.0")
    expect(press).to_contain_text("Stamping press")
    expect(page.get_by_role("heading", name="demo \u203a hall-1 \u203a line-1")).to_be_visible()
    trend = press.get_by_role("img", name="Temperature of the last 10 minutes")
    assert trend.locator("path").last.get_attribute("d")
    expect(page.get_by_role("article")).to_have_count(6)


def test_the_head_tells_totals_and_flow(page: Page, factory: Factory) -> None:
    factory.seat("mill-2", rate=0)
    factory.seat("moulder-3", closed=False)
    page.goto("/")
    totals = page.get_by_role("group", name="Machines by state")
    expect(totals.get_by_role("button", name="4 Running")).to_be_visible()
    expect(totals.get_by_role("button", name="1 Idle")).to_be_visible()
    expect(totals.get_by_role("button", name="1 Stopped")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("25.2 readings/s")
    expect(page.get_by_role("status")).to_contain_text("Gateway connected")
    factory.feed(gateway_connected=False)
    expect(page.get_by_role("status")).to_contain_text("Gateway not connected")


def test_values_change_without_a_reload(page: Page, factory: Factory) -> None:
    page.goto("/")
    expect(tile(page, "Press 1", "Running")).to_be_visible()
    page.evaluate("window.neverReloaded = true")
    factory.seat("press-1", temperature=66.6, cycles=123_456)
    expect(tile(page, "Press 1", "Running")).to_contain_text("66.6")
    expect(tile(page, "Press 1", "Running")).to_contain_text("123\u202f456")
    factory.seat("press-1", temperature=91.0)
    expect(tile(page, "Press 1", "Fault")).to_contain_text("Over 85 °C")
    assert page.evaluate("window.neverReloaded") is True


def test_a_confirmed_switch_becomes_a_command_and_its_way_is_shown(page: Page, factory: Factory) -> None:
    page.goto("/")
    dialog = ask(page)
    expect(dialog).to_contain_text("Open relay 0 of Press 1?")
    expect(dialog).to_contain_text("Press 1 stops")
    dialog.get_by_label("Reason").fill("tool change")
    dialog.get_by_role("button", name="Open relay 0").click()
    expect(dialog).to_be_hidden()
    assert factory.commands() == [
        {
            "machine": "press-1",
            "relay": 0,
            "state": False,
            "lease_s": 28_800,
            "reason": "tool change",
            "actor": "console",
            "status": "queued",
        }
    ]
    switch = page.get_by_role("switch", name="Relay 0 of Press 1")
    expect(switch).to_be_disabled()
    running = tile(page, "Press 1", "Running")
    expect(running).to_contain_text("Closed: machine may run · commanded: open")
    expect(running).to_contain_text("Queued: open · console")
    factory.command("press-1", "sent")
    expect(running).to_contain_text("Sent: open")
    factory.command("press-1", "acknowledged")
    stopped = tile(page, "Press 1", "Stopped")
    expect(stopped).to_contain_text("Acknowledged: open")
    factory.command("press-1", "confirmed")
    expect(stopped).to_contain_text("Confirmed: open")
    expect(stopped).to_contain_text("Open: machine stopped")
    expect(switch).to_be_enabled()
    expect(switch).to_have_attribute("aria-checked", "false")


def test_closing_a_relay_warns_of_people_in_the_machine(page: Page, factory: Factory) -> None:
    factory.seat("moulder-3", closed=False)
    page.goto("/")
    # The page may have been drawn just before the change: the dialog is about what the tile shows.
    expect(tile(page, "Moulder 3", "Stopped")).to_be_visible()
    dialog = ask(page, "Moulder 3")
    expect(dialog).to_contain_text("Close relay 0 of Moulder 3?")
    expect(dialog).to_contain_text("Make sure that nobody is in the machine")
    dialog.get_by_label("Reason").fill("done")
    dialog.get_by_label("For").click()
    page.get_by_role("option", name="15 minutes").click()
    dialog.get_by_role("button", name="Close relay 0").click()
    expect(dialog).to_be_hidden()
    (command,) = factory.commands()
    assert (command["machine"], command["state"], command["lease_s"]) == ("moulder-3", True, 900)


def test_without_a_reason_nothing_is_switched(page: Page, factory: Factory) -> None:
    page.goto("/")
    dialog = ask(page)
    dialog.get_by_label("Reason").fill("   ")
    dialog.get_by_role("button", name="Open relay 0").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Please say why")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    assert factory.commands() == []


def test_a_refused_command_is_told_in_the_dialog(page: Page, factory: Factory) -> None:
    factory.feed(refuse="Press 1 has no node yet.")
    page.goto("/")
    dialog = ask(page)
    dialog.get_by_label("Reason").fill("test")
    dialog.get_by_role("button", name="Open relay 0").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Not switched: Press 1 has no node yet.")
    factory.feed(refuse=None)
    dialog.get_by_role("button", name="Open relay 0").click()
    expect(dialog).to_be_hidden()
    assert len(factory.commands()) == 1


def test_a_failed_command_says_why(page: Page, factory: Factory) -> None:
    page.goto("/")
    dialog = ask(page)
    dialog.get_by_label("Reason").fill("test")
    dialog.get_by_role("button", name="Open relay 0").click()
    expect(dialog).to_be_hidden()
    factory.command("press-1", "failed", "the contact does not follow")
    press = tile(page, "Press 1", "Running")
    expect(press).to_contain_text("Failed: open")
    expect(press).to_contain_text("the contact does not follow")
    expect(page.get_by_role("switch", name="Relay 0 of Press 1")).to_be_enabled()


def test_everything_works_by_keyboard(page: Page, factory: Factory) -> None:
    page.goto("/")
    expect(tile(page, "Press 1", "Running")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the machines")).to_be_focused()
    switch = page.get_by_role("switch", name="Relay 0 of Press 1")
    switch.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert factory.commands() == []
    switch.focus()
    page.keyboard.press("Space")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("tool change")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    assert factory.commands()[0]["reason"] == "tool change"


def test_a_silent_machine_is_offline_and_switching_it_warns(page: Page, factory: Factory) -> None:
    page.goto("/")
    expect(tile(page, "Lathe 5", "Running")).to_be_visible()
    factory.seat("lathe-5", quiet_ms=95_000)
    lathe = tile(page, "Lathe 5", "Offline")
    expect(lathe).to_contain_text("No data from the node")
    expect(lathe).to_contain_text("1 min ago")
    expect(ask(page, "Lathe 5")).to_contain_text("expires if the node stays away")


def test_when_the_store_is_away_the_last_values_stay(page: Page, factory: Factory) -> None:
    factory.seat("press-1", temperature=44.4)
    page.goto("/")
    expect(tile(page, "Press 1", "Running")).to_contain_text("44.4")
    factory.feed(broken="The telemetry store does not answer.")
    banner = page.get_by_role("alert").filter(has_text="The telemetry store does not answer.")
    expect(banner).to_contain_text("Showing values from")
    expect(tile(page, "Press 1", "Running")).to_contain_text("44.4")
    factory.feed(broken=None)
    expect(banner).to_be_hidden()


def test_the_totals_filter_the_tiles(page: Page, factory: Factory) -> None:
    factory.seat("conveyor-4", fault="crc")
    page.goto("/")
    fault = page.get_by_role("button", name="1 Fault")
    fault.click()
    expect(page.get_by_role("article")).to_have_count(1)
    expect(tile(page, "Conveyor 4", "Fault")).to_contain_text("Sensor signal disturbed")
    expect(fault).to_have_attribute("aria-pressed", "true")
    fault.click()
    expect(page.get_by_role("article")).to_have_count(6)


def test_a_machine_page_shows_history_and_audit_times(page: Page, factory: Factory) -> None:
    page.goto("/")
    dialog = ask(page)
    dialog.get_by_label("Reason").fill("tool change")
    dialog.get_by_role("button", name="Open relay 0").click()
    expect(dialog).to_be_hidden()
    for status in ("sent", "acknowledged", "confirmed"):
        factory.command("press-1", status)
    page.get_by_role("link", name="Press 1").click()
    expect(page.get_by_role("heading", name="Press 1")).to_be_visible()
    expect(page.get_by_role("img", name="Temperature of the last 15 min")).to_be_visible()
    expect(page.locator(".chart path").first).to_be_attached()
    commands = page.get_by_role("region", name="Commands")
    expect(commands).to_contain_text("Open relay 0 for 8 h")
    expect(commands).to_contain_text("tool change")
    expect(commands.get_by_role("list", name="Audit times").get_by_role("listitem")).to_have_count(4)
    expect(commands.get_by_role("time").or_(commands.locator("time"))).to_have_count(4)
    page.get_by_role("button", name="8 h").click()
    expect(page.get_by_role("img", name="Temperature of the last 8 h")).to_be_visible()
    page.get_by_role("link", name="All machines", exact=True).click()
    expect(page.get_by_role("article")).to_have_count(6)


def test_an_unknown_machine_is_said_and_the_way_back_offered(page: Page) -> None:
    page.goto("/machines/no-such")
    expect(page.get_by_role("alert").filter(has_text="No machine no-such is registered.")).to_be_visible()
    page.get_by_role("link", name="All machines", exact=True).click()
    expect(page.get_by_role("article")).to_have_count(6)


@pytest.mark.parametrize("path", ["/", "/machines/press-1"])
def test_a_phone_needs_no_sideways_scrolling(context: BrowserContext, factory: Factory, path: str) -> None:
    factory.seat("press-1", name="Hydraulic stamping press number one at the far end of hall one")
    with watched_page(context, factory.base, PHONE) as page:
        page.goto(path)
        expect(page.get_by_role("article").first).to_be_visible()
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(overflow) == 0
        page.get_by_role("switch").first.click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("button", name="Open relay 0")).to_be_in_viewport()
        assert page.evaluate(overflow) == 0


def test_a_finger_finds_every_control(context: BrowserContext, factory: Factory) -> None:
    with watched_page(context, factory.base, PHONE) as page:
        page.goto("/")
        expect(tile(page, "Press 1", "Running")).to_be_visible()
        for control in page.get_by_role("button").all() + page.get_by_role("switch").all():
            box = control.bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) >= 24  # WCAG 2.2, 2.5.8


def test_the_theme_follows_the_system_and_can_be_switched_for_good(browser: Browser, factory: Factory) -> None:
    with session(browser, factory.base, dark=True) as fresh, watched_page(fresh, factory.base) as page:
        page.goto("/")
        body = page.locator("body")
        expect(body).to_contain_class("body--dark")
        page.get_by_role("button", name="Switch between dark and light").click()
        expect(body).to_contain_class("body--light")
        page.reload()
        expect(tile(page, "Press 1", "Running")).to_be_visible()
        expect(body).to_contain_class("body--light")


def test_two_viewers_see_the_same_moment(context: BrowserContext, factory: Factory) -> None:
    with watched_page(context, factory.base) as first, watched_page(context, factory.base, PHONE) as second:
        for page in (first, second):
            page.goto("/")
            expect(tile(page, "Press 1", "Running")).to_be_visible()
        dialog = ask(first)
        dialog.get_by_label("Reason").fill("test")
        dialog.get_by_role("button", name="Open relay 0").click()
        expect(tile(second, "Press 1", "Running")).to_contain_text("Queued: open")
        expect(second.get_by_role("switch", name="Relay 0 of Press 1")).to_be_disabled()


def test_the_api_stays_the_apis(factory: Factory) -> None:
    assert factory.client.get("/api/no-such").status_code == 404
    assert factory.client.get("/api/no-such").json() == {"detail": "Not Found"}
    assert factory.client.get("/api/dev/feed").status_code == 405
    assert "set-cookie" not in factory.client.get("/api/dev/log").headers


def test_a_hundred_machines_show_and_stay_live(browser: Browser, tmp_path: Path) -> None:
    with (
        server(str(SCRIPT), "--machines", "100", "--live", cwd=tmp_path) as base,
        session(browser, base) as fresh,
        watched_page(fresh, base) as page,
    ):
        page.goto("/")
        expect(page.get_by_role("article")).to_have_count(100)
        httpx.post(f"{base}/api/dev/seat/lathe-95", json={"fault": "absent"}).raise_for_status()
        expect(tile(page, "Lathe 95", "Fault")).to_contain_text("Sensor not found")
