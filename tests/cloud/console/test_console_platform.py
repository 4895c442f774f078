"""The console of the real cloud: its program, its embedded store and its database, with the test as the gateway."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cloud.console.chromium import chromium, server, session, watched_page
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "gateway-token-of-this-test"
TAGS = "area=a1,channel=0,line=l1,machine=press-7,node=press-7,site=demo"
expect.set_options(timeout=60_000)


class Gateway:
    """What the gateway of hall 1 tells the cloud."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self._headers = {"Authorization": f"Token {TOKEN}"}

    def write(self, *lines: str) -> None:
        query = {"org": "andon", "bucket": "readings", "precision": "ms"}
        body = "\n".join(lines)
        self.client.post("/api/v2/write", params=query, content=body, headers=self._headers).raise_for_status()

    def report(self, command: str, state: str) -> None:
        self.post(f"commands/{command}/events", {"state": state, "at_ms": now_ms(), "contact": None, "detail": ""})

    def post(self, path: str, body: dict[str, Any]) -> None:
        self.client.post(f"/api/v1/gateways/gw-1/{path}", json=body, headers=self._headers).raise_for_status()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def page_and_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Gateway]]:
    folder = tmp_path_factory.mktemp("cloud")
    env = {
        "ANDON_CLOUD_DATA_DIR": str(folder / "data"),
        "ANDON_CLOUD_BOOTSTRAP_GATEWAYS": f"gw-1:{TOKEN}",
        "ANDON_CLOUD_API_TOKEN": "",
        "ANDON_CLOUD_STORE": "embedded",
        "ANDON_CLOUD_INFLUXDB_ORG": "andon",
        "ANDON_CLOUD_INFLUXDB_BUCKET": "readings",
    }
    command = "import sys; from andon_cloud.cli import main; sys.exit(main(['serve', '--port', '0']))"
    with (
        chromium() as browser,
        server("-c", command, cwd=folder, env=env) as base,
        httpx.Client(base_url=base) as client,
        session(browser, base) as context,
        watched_page(context, base) as page,
    ):
        yield page, Gateway(client)


def create(client: httpx.Client, kind: str, body: dict[str, Any]) -> None:
    client.post(f"/api/v1/{kind}", json=body).raise_for_status()


def test_one_reading_and_one_command_end_to_end(page_and_gateway: tuple[Page, Gateway]) -> None:
    page, gateway = page_and_gateway
    page.goto("/")
    expect(page.get_by_text("No machines yet")).to_be_visible()

    place = {"site": "demo", "area": "a1", "line": "l1"}
    create(gateway.client, "machines", {"id": "press-7", "name": "Press 7", "kind": "press"} | place)
    create(gateway.client, "nodes", {"id": "press-7", "machine_id": "press-7", "gateway_id": "gw-1"})
    expect(page.get_by_role("article", name="Press 7: Offline")).to_contain_text("No data yet")

    at = now_ms()
    gateway.write(
        *(f"cycles,{TAGS} total={18_200 + second}i {at - 60_000 + second * 1000}" for second in range(61)),
        f"temperature,{TAGS} celsius=41.1875 {at}",
        f"relay,{TAGS} on=true {at}",
    )
    running = page.get_by_role("article", name="Press 7: Running")
    expect(running).to_contain_text("41.2")
    expect(running).to_contain_text("18\u202f260")
    expect(running).to_contain_text("Closed: machine may run")

    gateway.write(f"temperature,{TAGS} celsius=52.5 {now_ms()}")
    expect(running).to_contain_text("52.5")

    page.get_by_role("switch", name="Relay 0 of Press 7").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("tool change")
    dialog.get_by_role("button", name="Open relay 0").click()
    expect(dialog).to_be_hidden()
    (command,) = gateway.client.get("/api/v1/machines/press-7/commands").json()
    assert (command["state"], command["reason"], command["status"]) == (False, "tool change", "queued")
    expect(running).to_contain_text("Queued: open")

    gateway.report(command["id"], "sent")
    expect(running).to_contain_text("Sent: open")
    gateway.report(command["id"], "acknowledged")
    expect(running).to_contain_text("Acknowledged: open")
    gateway.write(f"relay,{TAGS} on=false {now_ms()}")
    stopped = page.get_by_role("article", name="Press 7: Stopped")
    expect(stopped).to_contain_text("Confirmed: open")

    page.get_by_role("link", name="Press 7").click()
    steps = page.get_by_role("list", name="Audit times").get_by_role("listitem")
    expect(steps).to_have_count(4)
    expect(page.get_by_role("img", name="Cycles of the last 15 min: 60")).to_be_visible()


def test_the_api_and_the_console_share_the_port(page_and_gateway: tuple[Page, Gateway]) -> None:
    _, gateway = page_and_gateway
    missing = gateway.client.get("/api/v1/no-such")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"
    assert gateway.client.get("/healthz").json() == {"database": "ok", "store": "ok"}
    assert gateway.client.get("/docs").status_code == 200
    assert "text/html" in gateway.client.get("/").headers["content-type"]


def test_adoption_in_the_real_cloud(page_and_gateway: tuple[Page, Gateway]) -> None:
    page, gateway = page_and_gateway
    create(gateway.client, "machines", {"id": "oven-1", "name": "Oven 1", "site": "demo", "area": "a1", "line": "l1"})
    at = now_ms()
    unknown = {"first_ms": at, "last_ms": at, "address": "coap://192.0.2.7:5683"}
    report = {
        "nodes": [unknown | {"node": "oven-1", "packs": 3, "sent": {"temperature/0": 180.5, "relay/0": False}}],
        "keys": [unknown | {"kid": "07", "messages": 3, "node": None}],
    }
    gateway.post("quarantine", report)
    page.goto("/waiting")
    node = page.get_by_role("article", name="oven-1 at gw-1")
    expect(node).to_contain_text("temperature/0 180.50, relay/0 off")
    expect(page.get_by_role("article", name="Keys 07 at gw-1")).to_be_visible()
    node.get_by_role("button", name="Adopt oven-1").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("mounted today")
    dialog.get_by_role("button", name="Adopt oven-1 on Oven 1").click()
    expect(page.get_by_text("No node waits.")).to_be_visible()
    (entry,) = gateway.client.get("/api/v1/nodes/oven-1/audit").json()
    said = {"action": "adopted", "machine_id": "oven-1", "gateway_id": "gw-1", "reason": "mounted today"}
    assert said.items() <= entry.items()
    assert entry["actor"] == "console"
    seen = {"node": "oven-1", "version": "1.3.0", "revision": 4, "seen_ms": now_ms()}
    gateway.post("nodes", {"nodes": [seen]})
    page.goto("/machines/oven-1")
    expect(page.get_by_text("Node oven-1 · firmware 1.3.0 · configuration 4 · heard")).to_be_visible()
