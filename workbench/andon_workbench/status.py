"""`andon status`: what a cloud knows of its factory."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from andon_workbench.cloud_api import CloudApi, Newest

_READINGS = (("temperature", "celsius"), ("cycles", "total"), ("relay", "on"))
_NODE_FIELDS = ("queued", "rejected", "boots", "uptime_s")


async def gather_status(url: str, token: str | None) -> dict[str, Any]:
    """Ask for machines, newest readings and node health.

    Raises:
        CloudApiError: the cloud refuses or does not answer.
    """
    async with CloudApi(url, token) as api:
        newest = {name: await api.latest(name) for name in ("temperature", "cycles", "relay", "node")}
        return {
            "cloud": await api.health(),
            "machines": [_machine(machine, newest) for machine in await api.machines()],
        }


def status_table(found: dict[str, Any]) -> Table:
    """The same as a table."""
    table = Table("machine", "place", "temperature", "cycles", "relay", "node", title_justify="left")
    for machine in found["machines"]:
        readings, node = machine["readings"], machine["node"]
        celsius, relay = readings.get("temperature/0"), readings.get("relay/0")
        table.add_row(
            machine["id"],
            machine["place"],
            "-" if celsius is None else f"{celsius:.2f} °C",
            str(readings.get("cycles/0", "-")),
            {True: "on", False: "off"}.get(relay, "-"),
            ", ".join(f"{key} {value}" for key, value in node.items()) or "[yellow]silent",
        )
    return table


def _machine(machine: dict[str, Any], newest: dict[str, list[Newest]]) -> dict[str, Any]:
    readings = {
        f"{measurement}/{sample.tags['channel']}": sample.value
        for measurement, field in _READINGS
        for sample in newest[measurement]
        if sample.field == field and sample.tags["machine"] == machine["id"]
    }
    node = {
        sample.field: sample.value
        for sample in newest["node"]
        if sample.field in _NODE_FIELDS and sample.tags["machine"] == machine["id"]
    }
    place = "/".join(str(machine[level]) for level in ("site", "area", "line"))
    return {"id": machine["id"], "kind": machine["kind"], "place": place, "readings": readings, "node": node}
