"""Servers as processes and a real Chromium, for the console's browser tests."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from parts import require_part
from playwright.sync_api import Page, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Request

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = (1440, 900)
PHONE = (390, 844)
START_LIMIT_S = 90


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium."""
    require_part("chromium", found=os.path.exists(CHROMIUM), how="make deps-test")  # noqa: PTH110 - as parts.py asks
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def server(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> Iterator[str]:
    """Run a Python program that prints `ready http=HOST:PORT` when it listens; gives its address, ends it by its id."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    reader = threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        yield _address(lines)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(5)
        process.stdout.close()


def _pump(stream: Iterator[str], lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)


def _address(lines: queue.Queue[str]) -> str:
    said: list[str] = []
    while True:
        try:
            said.append(lines.get(timeout=START_LIMIT_S))
        except queue.Empty:
            message = f"the server did not start; it said: {''.join(said)}"
            raise AssertionError(message) from None
        found = re.fullmatch(r"ready http=(\S+)\n", said[-1])
        if found:
            return f"http://{found.group(1)}"


class Watched:
    """A page whose every request and complaint is remembered."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self._own = urlsplit(base).netloc
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self._requested)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _requested(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in {"data", "blob"} and url.netloc != self._own:
            self.foreign.append(request.url)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)


@contextmanager
def session(browser: Browser, base: str, *, dark: bool = False) -> Iterator[BrowserContext]:
    """A browser session: its pages share cookies, settings and the cache of the console's scripts."""
    context = browser.new_context(base_url=base, color_scheme="dark" if dark else "light")
    context.set_default_timeout(60_000)
    yield context
    context.close()


@contextmanager
def watched_page(context: BrowserContext, base: str, size: tuple[int, int] = DESKTOP) -> Iterator[Page]:
    """A page that at its end must have asked no other host and complained of nothing."""
    page = context.new_page()
    page.set_viewport_size({"width": size[0], "height": size[1]})
    watched = Watched(page, base)
    yield page
    page.close()
    assert watched.foreign == []
    assert watched.complaints == []
