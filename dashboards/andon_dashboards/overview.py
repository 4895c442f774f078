"""The dashboard "Plant overview": its variables, and where each panel stands."""

from __future__ import annotations

from typing import TypeAlias

from grafana_foundation_sdk.builders import bargauge, dashboard, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import dashboard as model

from andon_dashboards import machine_panels, node_panels, queries
from andon_dashboards.flux import datasource

UID = "andon-plant-overview"
GRID_WIDTH = 24

AnyPanel: TypeAlias = bargauge.Panel | stat.Panel | statetimeline.Panel | table.Panel | timeseries.Panel

ANY = model.VariableOption(text="All", value="$__all", selected=True)


def plant_overview() -> model.Dashboard:
    """Build the dashboard.

    Panels stand in bands of one height, from what everybody asks first (is it running?) down to the boards' health.
    """
    builder = (
        dashboard.Dashboard("Plant overview")
        .uid(UID)
        .description("Machines, cycles, temperatures and relays of the plant, and the health of the nodes behind them.")
        .tags(["andon"])
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(_other_dashboards())
    )
    for level in queries.HIERARCHY:
        builder = builder.with_variable(_variable(level))

    panels: list[tuple[AnyPanel, int, int]] = [
        (machine_panels.machines_running(), 6, 4),
        (machine_panels.machines_silent(), 6, 4),
        (machine_panels.cycles_total(), 6, 4),
        (machine_panels.hottest(), 6, 4),
        (machine_panels.state_tiles(), 24, 5),
        (machine_panels.machine_table(), 24, 9),
        (machine_panels.temperature(), 12, 10),
        (machine_panels.cycle_rate(), 12, 10),
        (machine_panels.cycles_per_machine(), 8, 9),
        (machine_panels.relays(), 16, 9),
    ]
    nodes: list[tuple[AnyPanel, int, int]] = [
        (node_panels.last_seen(), 12, 8),
        (node_panels.sensor_faults(), 12, 8),
        (node_panels.free_heap(), 8, 9),
        (node_panels.wifi_signal(), 8, 9),
        (node_panels.packs_queued(), 8, 9),
    ]
    bottom = _place(builder, panels, first_id=1, top=0)
    row_id = len(panels) + 1
    builder.with_row(dashboard.Row("Nodes").id(row_id).grid_pos(model.GridPos(x=0, y=bottom, w=GRID_WIDTH, h=1)))
    _place(builder, nodes, first_id=row_id + 1, top=bottom + 1)
    return builder.build()


def _place(builder: dashboard.Dashboard, panels: list[tuple[AnyPanel, int, int]], *, first_id: int, top: int) -> int:
    """Put panels (with width and height) side by side into full bands; returns the row below the last one."""
    left = 0
    for number, (panel, width, height) in enumerate(panels, first_id):
        placed = panel.id(number).grid_pos(model.GridPos(x=left, y=top, w=width, h=height))
        builder.with_panel(placed)
        left += width
        if left >= GRID_WIDTH:
            left, top = 0, top + height
    return top


def _variable(level: str) -> dashboard.QueryVariable:
    """Choose one, several or all values of a level; the list follows what is chosen above it."""
    return (
        dashboard.QueryVariable(level)
        .label(level.capitalize())
        .datasource(datasource())
        .query(queries.variable_values(level))
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(ANY)
    )


def _other_dashboards() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("Andon dashboards")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags(["andon"])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )
