"""Panels about machines: what a plant manager reads first."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, common, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue as Property

from andon_dashboards import queries, style
from andon_dashboards.flux import FluxTarget, datasource

SHORTEST_WINDOW = "5s"
"""Nodes report every few seconds; shorter windows would be empty."""

RATE_WINDOW = "1m"
"""A machine makes a few cycles a minute; over shorter windows a rate is mostly rounding."""

MACHINE_LINK = "/d/andon-plant-overview?var-machine=${__value.text}&${__url_time_range}"


def machines_running() -> stat.Panel:
    """How many machines run."""
    panel = _single("Machines running", queries.machines_in("running"), style.NEUTRAL)
    return panel.description(
        f"Machines whose cycle counter rose in the last {queries.RATE_WITHIN} before the end of the period."
    )


def machines_silent() -> stat.Panel:
    """How many machines send nothing."""
    panel = _single("Machines silent", queries.machines_in("silent"), style.ANY_IS_BAD)
    return panel.description(
        f"Machines without any reading for more than {queries.SILENT_AFTER_S} s. Their node, its Wi-Fi or the gateway "
        f"needs a look; machines that were never heard of in {queries.SEEN_WITHIN} are not counted."
    )


def cycles_total() -> stat.Panel:
    """All cycles of the period."""
    panel = _single("Cycles in the period", queries.cycles_in_period(), style.NEUTRAL)
    return panel.unit("short").description(
        "Cycles of all chosen machines together, in the period chosen above. A node's restart does not change it."
    )


def hottest() -> stat.Panel:
    """The highest temperature of all."""
    panel = _single("Highest temperature", queries.highest_temperature(), style.TEMPERATURE_C)
    return panel.unit("celsius").decimals(1).description("Last reading of the hottest sensor of the chosen machines.")


def state_tiles() -> stat.Panel:
    """One coloured tile per machine."""
    return (
        stat.Panel()
        .title("Machine state")
        .description(
            "running: the cycle counter rises; stopped: readings arrive, but no cycle in the last "
            f"{queries.RATE_WITHIN}; silent: no reading for {queries.SILENT_AFTER_S} s."
        )
        .datasource(datasource())
        .with_target(FluxTarget(queries.machine_states()))
        .mappings(style.state_texts())
        .reduce_options(style.all_rows("/^state$/"))
        .color_mode(common_model.BigValueColorMode.BACKGROUND_SOLID)
        .graph_mode(common_model.BigValueGraphMode.NONE)
        .text_mode(common_model.BigValueTextMode.VALUE_AND_NAME)
        .justify_mode(common_model.BigValueJustifyMode.CENTER)
        .no_value("No machine has sent anything yet")
    )


def machine_table() -> table.Panel:
    """One row per machine with everything that is known of it now."""
    columns = {
        "area": [_name("Area")],
        "line": [_name("Line")],
        "machine": [_name("Machine"), _machine_link()],
        "state": [_name("State"), Property("mappings", style.state_texts()), _cell("color-background")],
        "temperature": [
            _name("Temperature"),
            Property("unit", "celsius"),
            Property("decimals", 1),
            Property("thresholds", style.thresholds(style.TEMPERATURE_C).build()),
            _cell("color-text"),
        ],
        "rate": [_name("Cycles per minute"), Property("decimals", 1)],
        "cycles": [_name("Cycles in the period"), Property("decimals", 0)],
        "relay": [
            _name("Relay"),
            Property("mappings", style.texts({"1": ("on", style.GREEN), "0": ("off", style.GREY)})),
            _cell("color-text"),
        ],
        "age": [
            _name("Age of the data"),
            Property("unit", "s"),
            Property("decimals", 0),
            Property("thresholds", style.thresholds(style.AGE_S).build()),
            _cell("color-text"),
        ],
    }
    panel = (
        table.Panel()
        .title("Machines")
        .description(
            "Latest values of each machine at the end of the period. The temperature is its hottest sensor's. Choose a "
            "machine's name to see it alone."
        )
        .datasource(datasource())
        .with_target(FluxTarget(queries.machines()))
        .no_value("-")
        .cell_height(common_model.TableCellHeight.SM)
        .sort_by([common.TableSortByFieldState().display_name("Machine").desc(False)])
    )
    for name, properties in columns.items():
        panel = panel.override_by_name(name, properties)
    return panel


def temperature() -> timeseries.Panel:
    """Temperatures over time, with the limits drawn in."""
    return (
        _graph("Temperature", queries.temperature())
        .description("Mean of each sensor per window. Dashed lines: warning and limit.")
        .interval(SHORTEST_WINDOW)
        .unit("celsius")
        .decimals(1)
        .thresholds(style.thresholds(style.TEMPERATURE_C))
        .thresholds_style(common.GraphThresholdsStyleConfig().mode(common_model.GraphTresholdsStyleMode.DASHED))
        .legend(style.table_legend("min", "mean", "max", "lastNotNull"))
    )


def cycle_rate() -> timeseries.Panel:
    """Cycles per minute over time."""
    return (
        _graph("Cycle rate", queries.cycle_rate())
        .description("Cycles per minute of each counter, over windows of a minute or more.")
        .interval(RATE_WINDOW)
        .unit("short")
        .axis_label("cycles per minute")
        .decimals(1)
        .min(0)
        .legend(style.table_legend("mean", "max", "lastNotNull"))
    )


def cycles_per_machine() -> bargauge.Panel:
    """Cycles of the period, machine by machine."""
    return (
        bargauge.Panel()
        .title("Cycles per machine")
        .description("Cycles in the period, most first.")
        .datasource(datasource())
        .with_target(FluxTarget(queries.cycles_per_machine()))
        .unit("short")
        .min(0)
        .thresholds(style.thresholds(style.NEUTRAL))
        .color_scheme(style.by_threshold())
        .reduce_options(style.all_rows())
        .display_mode(common_model.BarGaugeDisplayMode.BASIC)
        .orientation(common_model.VizOrientation.HORIZONTAL)
        .show_unfilled(True)
        .no_value("No cycles counted")
    )


def relays() -> statetimeline.Panel:
    """When each relay was on."""
    return (
        statetimeline.Panel()
        .title("Relays")
        .description("State read back from each relay's contact, not merely what was commanded.")
        .datasource(datasource())
        .with_target(FluxTarget(queries.relays()))
        .interval(SHORTEST_WINDOW)
        .display_name("${__field.labels.series}")
        .mappings(style.texts({"true": ("on", style.GREEN), "false": ("off", style.GREY)}))
        .show_value(common_model.VisibilityMode.AUTO)
        .merge_values(True)
        .row_height(0.8)
        .line_width(0)
        .fill_opacity(80)
        .legend(common.VizLegendOptions().show_legend(False).display_mode(common_model.LegendDisplayMode.HIDDEN))
        .no_value("No relay has reported")
    )


def _single(title: str, query: str, steps: style.Steps) -> stat.Panel:
    return (
        stat.Panel()
        .title(title)
        .datasource(datasource())
        .with_target(FluxTarget(query))
        .thresholds(style.thresholds(steps))
        .color_scheme(style.by_threshold())
        .reduce_options(style.last_of())
        .color_mode(common_model.BigValueColorMode.VALUE)
        .graph_mode(common_model.BigValueGraphMode.NONE)
        .text_mode(common_model.BigValueTextMode.VALUE)
        .no_value("-")
    )


def _graph(title: str, query: str) -> timeseries.Panel:
    return (
        timeseries.Panel()
        .title(title)
        .datasource(datasource())
        .with_target(FluxTarget(query))
        .display_name("${__field.labels.series}")
        .color_scheme(style.by_name())
        .line_width(2)
        .show_points(common_model.VisibilityMode.NEVER)
        .tooltip(style.all_series_tooltip())
    )


def _name(text: str) -> Property:
    return Property("displayName", text)


def _cell(kind: str) -> Property:
    return Property("custom.cellOptions", {"type": kind})


def _machine_link() -> Property:
    return Property("links", [{"title": "Show this machine alone", "url": MACHINE_LINK}])
