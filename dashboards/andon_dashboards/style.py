"""Colours, limits and texts that several panels share: change a limit here and every panel follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from grafana_foundation_sdk.builders import common, dashboard
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

if TYPE_CHECKING:
    from collections.abc import Mapping

GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "#7a7f87"

TEMPERATURE_C = ((None, GREEN), (70.0, ORANGE), (85.0, RED))
"""Warn before the interlock's usual limit of 85 degC (docs/protocol.md leaves the limit to the node's configuration)."""

AGE_S = ((None, GREEN), (30.0, YELLOW), (60.0, RED))
"""Red from the age at which `queries.SILENT_AFTER_S` calls a machine silent."""

HEAP_B = ((None, RED), (16_384.0, YELLOW), (32_768.0, GREEN))
RSSI_DBM = ((None, RED), (-75.0, YELLOW), (-67.0, GREEN))
QUEUED = ((None, GREEN), (10.0, YELLOW), (100.0, RED))
NEUTRAL = ((None, BLUE),)
ANY_IS_BAD = ((None, GREEN), (1.0, RED))

MOST_TILES = 500
"""Machines shown at once; more are no overview."""

STATE_COLOURS = {"running": GREEN, "stopped": YELLOW, "silent": RED}

Steps: TypeAlias = tuple[tuple[float | None, str], ...]


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Absolute thresholds; the first step has no lower bound."""
    built = [model.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(built)


def by_threshold() -> dashboard.FieldColor:
    """Colour a value by the threshold it is in."""
    return dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS)


def by_name() -> dashboard.FieldColor:
    """Colour a series by its name, so a machine has the same colour in every panel and period."""
    return dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME)


def texts(values: Mapping[str, tuple[str, str]]) -> list[model.ValueMapping]:
    """Show values as texts with colours: `{value: (text, colour)}`."""
    results = {
        value: model.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(values.items())
    }
    return [model.ValueMap(options=results)]


def state_texts() -> list[model.ValueMapping]:
    """The machine states with their colours."""
    return texts({state: (state, colour) for state, colour in STATE_COLOURS.items()})


def table_legend(*calcs: str) -> common.VizLegendOptions:
    """A legend as a table below the graph, with the given reductions as columns."""
    return (
        common.VizLegendOptions()
        .display_mode(common_model.LegendDisplayMode.TABLE)
        .placement(common_model.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(list(calcs))
    )


def all_series_tooltip() -> common.VizTooltipOptions:
    """One tooltip with every series, highest value first."""
    return (
        common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.MULTI).sort(common_model.SortOrder.DESCENDING)
    )


def last_of() -> common.ReduceDataOptions:
    """Reduce each numeric field to its last value."""
    return common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False)


def all_rows(fields: str = "") -> common.ReduceDataOptions:
    """Show every row of a table as a value of its own, named by the row's text.

    Args:
        fields: Which field holds the value, as Grafana's regular expression; empty means the numeric ones.
    """
    # Grafana's own limit is 25 rows, which a larger plant exceeds silently.
    return common.ReduceDataOptions().calcs([]).fields(fields).values(True).limit(MOST_TILES)
