"""The few HTML elements the console builds itself: text, plain tags and attributes that are only sent when they change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

if TYPE_CHECKING:
    from nicegui.element import Element


class Text(TextElement):
    """An HTML element that holds text, such as `h2`, `span` or `dd`; `set_text` sends only real changes."""

    def __init__(self, tag: str, text: str = "", css: str = "", **attributes: str) -> None:
        super().__init__(tag=tag, text=text)
        _dress(self, css, attributes)


def tag(name: str, css: str = "", **attributes: str) -> ui.element:
    """An HTML element with classes and attributes; underscores in attribute names become hyphens."""
    element = ui.element(name)
    _dress(element, css, attributes)
    return element


def icon(name: str, css: str = "") -> ui.icon:
    """A Material icon as decoration: the text beside it says the same, so screen readers skip it."""
    picture = ui.icon(name).props('aria-hidden="true"')
    picture.classes(css)
    return picture


def put(element: Element, name: str, value: Any) -> None:
    """Set an attribute, or remove it with None; nothing is sent to the browser when it is the same already."""
    if element.props.get(name) != value:
        element.props.set_optional(name, value)


def _dress(element: Element, css: str, attributes: dict[str, str]) -> None:
    if css:
        element.classes(css)
    for name, value in attributes.items():
        element.props[name.replace("_", "-")] = value
