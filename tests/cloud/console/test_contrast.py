"""Every text colour of the console against its ground: WCAG 2.2, 1.4.3 asks for 4.5 to 1."""

from __future__ import annotations

import re
from importlib import resources

import pytest

CSS = resources.files("andon_cloud.console").joinpath("console.css").read_text("utf-8")


def names(selector: str) -> dict[str, str]:
    block = re.search(rf"^{re.escape(selector)} {{(.*?)^}}", CSS, re.DOTALL | re.MULTILINE)
    assert block is not None
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block.group(1)))


LIGHT = names("body")
THEMES = {"light": LIGHT, "dark": LIGHT | names("body.body--dark")}
STATES = ("running", "idle", "stopped", "fault", "offline")
PAIRS = [
    *((f"{state}-ink", state) for state in STATES),
    ("offline-ink", "stripe"),
    *((ink, ground) for ink in ("ink", "soft", "link", "bad", "good") for ground in ("panel", "ground")),
]


def luminance(colour: str) -> float:
    """WCAG's relative luminance of `#rrggbb`."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("ink", "ground"), PAIRS)
def test_text_is_readable(theme: str, ink: str, ground: str) -> None:
    colours = THEMES[theme]
    lighter, darker = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_the_style_sheet_loads_nothing_from_elsewhere() -> None:
    assert "url(" not in CSS
    assert "@import" not in CSS
