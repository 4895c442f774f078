"""The configurations that an integrator starts from: the firmware's validator takes them, and the harness has their pins."""

from __future__ import annotations

import json
from typing import Any

import pytest

from andon_hardware import __main__ as hardware
from andon_hardware import harness
from andon_workbench.checkout import find_checkout
from andon_workbench.node import config as node_config
from andon_workbench.node.errors import ConfigRefusedError

KINDS = ("wifi-din", "rs485", "clip-on")
# What `andon node provision` adds.
WIFI = {"wifi": {"ssid": "hall-1", "password": "secret-7"}}


def template(kind: str) -> dict[str, Any]:
    document = json.loads((hardware.HARDWARE / f"templates/{kind}.json").read_text())
    assert isinstance(document, dict)
    return document


def provisioned(kind: str) -> dict[str, Any]:
    given = {"version": 1, "node": "press-7", "gateway": {"host": "10.0.0.5"}}
    return {**given, **template(kind), **({} if kind == "rs485" else WIFI)}


@pytest.mark.parametrize("kind", KINDS)
def test_firmware_takes_it(kind: str) -> None:
    node_config.check_here(node_config.render(provisioned(kind)), find_checkout().firmware)


def test_firmware_would_refuse_another() -> None:
    """The check above can fail."""
    wrong = provisioned("clip-on") | {"temperature": [{"channel": 0, "pin": "W9"}]}
    with pytest.raises(ConfigRefusedError, match="a pin of esp32-c3"):
        node_config.check_here(node_config.render(wrong), find_checkout().firmware)


def pins_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value[key] for key in ("pin", "contact_pin", "tx", "rx") if key in value}
        return own.union(*(pins_in(item) for item in value.values()))
    return set().union(*(pins_in(item) for item in value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("kind", KINDS)
def test_harness_has_exactly_its_pins(kind: str) -> None:
    drawn = harness.read(hardware.HARDWARE / f"harness/{kind}.yml")
    assert drawn.board == template(kind)["board"]
    assert pins_in(template(kind)) == {label.split()[0] for label in drawn.labels if " " in label}


def test_outputs_are_active_high() -> None:
    """What makes an output safe without a program is the driver's pull-down (hardware/circuits.md)."""
    for kind in KINDS:
        for relay in template(kind).get("relays", ()):
            assert relay.get("active", "high") == "high"
            assert relay["safe"] is False


def test_counter_of_a_kind_fits_its_optocoupler() -> None:
    """A transistor optocoupler is too slow for the counter's filter, and contacts bounce."""
    for kind in KINDS:
        subtype = str(harness.read(hardware.HARDWARE / f"harness/{kind}.yml").document["connectors"]["U1"]["subtype"])
        assert [item["mode"] for item in template(kind)["cycles"]] == [subtype]
