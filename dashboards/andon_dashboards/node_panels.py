"""Panels about nodes: what the person who keeps the boards running reads."""

from __future__ import annotations

from grafana_foundation_sdk.builders import common, table, timeseries
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue as Property

from andon_dashboards import queries, style
from andon_dashboards.flux import FluxTarget, datasource

NODE_WINDOW = "30s"
"""Health is sent more rarely than readings."""


def last_seen() -> table.Panel:
    """Age of each node's data."""
    return (
        table.Panel()
        .title("Last seen")
        .description(f"When each node's last reading was taken; nodes silent for {queries.SEEN_WITHIN} disappear.")
        .datasource(datasource())
        .with_target(FluxTarget(queries.nodes_seen()))
        .no_value("-")
        .cell_height(common_model.TableCellHeight.SM)
        .override_by_name("machine", [Property("displayName", "Machine")])
        .override_by_name("node", [Property("displayName", "Node")])
        .override_by_name("last reading", [Property("displayName", "Last reading")])
        .override_by_name(
            "age",
            [
                Property("displayName", "Age of the data"),
                Property("unit", "s"),
                Property("decimals", 0),
                Property("thresholds", style.thresholds(style.AGE_S).build()),
                Property("custom.cellOptions", {"type": "color-background", "mode": "basic"}),
            ],
        )
    )


def sensor_faults() -> table.Panel:
    """Faults that nodes found in their sensors."""
    fault_texts = {
        "absent": ("no sensor answers", style.RED),
        "crc": ("damaged reading", style.ORANGE),
        "power-on": ("sensor restarted", style.ORANGE),
        "range": ("out of range", style.ORANGE),
        "ok": ("well again", style.GREEN),
    }
    return (
        table.Panel()
        .title("Sensor faults")
        .description("Faults of temperature sensors that came or went in the period, newest first.")
        .datasource(datasource())
        .with_target(FluxTarget(queries.sensor_faults()))
        .no_value("No faults in this period")
        .cell_height(common_model.TableCellHeight.SM)
        .sort_by([common.TableSortByFieldState().display_name("Time").desc(True)])
        .override_by_name("time", [Property("displayName", "Time")])
        .override_by_name("machine", [Property("displayName", "Machine")])
        .override_by_name("channel", [Property("displayName", "Sensor")])
        .override_by_name(
            "fault",
            [
                Property("displayName", "Fault"),
                Property("mappings", style.texts(fault_texts)),
                Property("custom.cellOptions", {"type": "color-text"}),
            ],
        )
    )


def free_heap() -> timeseries.Panel:
    """Free memory of each node."""
    return (
        _health("Free heap", "heap_free", "min", style.HEAP_B)
        .description("Least free memory per window. A node that nears the dashed lines has a leak or too many sensors.")
        .unit("bytes")
        .min(0)
    )


def wifi_signal() -> timeseries.Panel:
    """Wi-Fi signal of each node."""
    return (
        _health("Wi-Fi signal", "rssi", "min", style.RSSI_DBM)
        .description("Weakest signal per window. Below -75 dBm packets get lost; move the node or the access point.")
        .unit("dBm")
        .axis_soft_min(-90)
        .axis_soft_max(-30)
    )


def packs_queued() -> timeseries.Panel:
    """Packs that wait on each node."""
    return (
        _health("Packs waiting on the node", "queued", "max", style.QUEUED)
        .description("Packs that the gateway has not taken yet. A rising line means that it cannot be reached.")
        .unit("short")
        .decimals(0)
        .min(0)
    )


def _health(title: str, field: str, worst: str, steps: style.Steps) -> timeseries.Panel:
    return (
        timeseries.Panel()
        .title(title)
        .datasource(datasource())
        .with_target(FluxTarget(queries.node_health(field, worst=worst)))
        .interval(NODE_WINDOW)
        .display_name("${__field.labels.node}")
        .color_scheme(style.by_name())
        .thresholds(style.thresholds(steps))
        .thresholds_style(common.GraphThresholdsStyleConfig().mode(common_model.GraphTresholdsStyleMode.DASHED))
        .show_points(common_model.VisibilityMode.NEVER)
        .tooltip(style.all_series_tooltip())
        .legend(style.table_legend(worst, "lastNotNull"))
    )
