"""Every Flux query of the dashboards, as pure functions: what they ask for, not how it is drawn.

The measurements and tags are those of docs/protocol.md, section "Line protocol". Grafana replaces `v.timeRangeStart`,
`v.timeRangeStop`, `v.windowPeriod` and `v.defaultBucket` in the text before it sends it, and `${machine:regex}` and the
like by the chosen values; so a name ending in one of these words must not occur anywhere else in a query.

Series keep `_measurement`, `_field`, `_time` and `_value`, and one label for the legend: that is the shape in which
every Grafana since 7 reads a Flux answer as a time series. Tables drop these columns and are one ungrouped table.
"""

from __future__ import annotations

HIERARCHY = ("site", "area", "line", "machine")
"""ISA-95 levels, as tags and as dashboard variables, widest first."""

SEEN_WITHIN = "7d"
"""How far back a silent node is still known; longer ago it counts as taken away."""

RATE_WITHIN = "5m"
"""Span over which "now" cycle rates are taken; a machine whose counter rose in it is running."""

SILENT_AFTER_S = 60
"""Seconds without any reading after which a machine counts as silent; nodes report every few seconds."""

MACHINE_COUNTER = "0"
"""The channel that counts the machine's cycles and switches its contactor; further channels are extra signals."""

STATES = ("running", "stopped", "silent")
"""What can be said of a machine from its counter and its last reading alone."""


def variable_values(level: str) -> str:
    """The values of one hierarchy level below what is chosen on the levels above it.

    Args:
        level: One of `HIERARCHY`.
    """
    above = HIERARCHY[: HIERARCHY.index(level)]
    predicate = " and ".join(_chosen(name) for name in above) or "true"
    return (
        'import "influxdata/influxdb/schema"\n\n'
        f'schema.tagValues(bucket: v.defaultBucket, tag: "{level}", predicate: (r) => {predicate}, start: -{SEEN_WITHIN})'
    )


# --- time series -----------------------------------------------------------------------------------------------------


def temperature() -> str:
    """Mean temperature per sensor and window, in degC."""
    return (
        _read("temperature", "celsius")
        + "  |> aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false)\n"
        + _per_channel()
    )


def cycle_rate() -> str:
    """Cycles per minute and counter, from the counter's last value in each window and the time it was read.

    The last reading's own time is kept, so a window that holds one reading more or less does not make the rate jump, and
    a window is left out until half of it has passed: one cycle in two seconds is no rate of 30 per minute. A counter that
    falls (only a replaced gateway could make it) leaves a gap instead of a negative rate.
    """
    # elapsed() and derivative() take one window each for their first difference.
    two_windows_earlier = "date.sub(d: v.windowPeriod, from: date.sub(d: v.windowPeriod, from: v.timeRangeStart))"
    return (
        'import "date"\n\n'
        + _read("cycles", "total", start=two_windows_earlier)
        + "  |> window(every: v.windowPeriod)\n"
        + "  |> last()\n"
        + "  |> window(every: inf)\n"
        + "  |> elapsed(unit: 1ns)\n"
        + "  |> derivative(unit: 1m, nonNegative: true)\n"
        + "  |> filter(fn: (r) => exists r._value and r.elapsed >= int(v: v.windowPeriod) / 2)\n"
        + _per_channel()
    )


def relays() -> str:
    """State of every relay's contact, last in each window: true is closed."""
    return (
        _read("relay", "on")
        + "  |> aggregateWindow(every: v.windowPeriod, fn: last, createEmpty: false)\n"
        + _per_channel()
    )


def node_health(field: str, *, worst: str) -> str:
    """One field of the node's own health, the worst value of each window.

    Args:
        field: `heap_free` (bytes), `rssi` (dBm) or `queued` (packs).
        worst: `min` or `max`, whichever end of the field is the bad one.
    """
    return (
        _read("node", field)
        + f"  |> aggregateWindow(every: v.windowPeriod, fn: {worst}, createEmpty: false)\n"
        + '  |> group(columns: ["_measurement", "_field", "node"])\n'
        + '  |> sort(columns: ["_time"])\n'
        + '  |> keep(columns: ["_time", "_value", "_measurement", "_field", "node"])\n'
    )


# --- one value per machine or for the plant ---------------------------------------------------------------------------


def machines() -> str:
    """One row per machine: place, state, temperature, cycle rate, cycles in the period, relay and age of its data.

    The temperature is the hottest sensor's last one, the age in seconds reaches to the end of the period. All are
    floats, since a pivot has one type: `relay` is 1.0 when closed.
    """
    return _snapshot() + (
        '  |> keep(columns: ["area", "line", "machine", "state", "temperature", "rate", "cycles", "relay", "age"])\n'
        '  |> sort(columns: ["area", "line", "machine"])\n'
    )


def machine_states() -> str:
    """The state of each machine at the end of the period: one row per machine, named by its only other text."""
    return _snapshot() + ('  |> keep(columns: ["machine", "state"])\n  |> group()\n  |> sort(columns: ["machine"])\n')


def machines_in(state: str) -> str:
    """How many machines are in a state at the end of the period; 0 when none is.

    Args:
        state: One of `STATES`.
    """
    # Not map(if ... then 1 else 0) |> sum(): Flux 2.9 answers null where the condition is the same for all rows.
    return _snapshot() + (
        f'  |> filter(fn: (r) => r.state == "{state}", onEmpty: "keep")\n'
        '  |> count(column: "machine")\n'
        '  |> rename(columns: {machine: "machines"})\n'
    )


def cycles_in_period() -> str:
    """Cycles of all chosen machines together in the period."""
    return _cycles_counted() + ('  |> group()\n  |> sum()\n  |> rename(columns: {_value: "cycles"})\n')


def cycles_per_machine() -> str:
    """Cycles of each machine in the period, most first."""
    return _cycles_counted() + (
        '  |> group()\n  |> keep(columns: ["machine", "_value"])\n'
        '  |> rename(columns: {_value: "cycles"})\n'
        '  |> sort(columns: ["cycles"], desc: true)\n'
    )


def highest_temperature() -> str:
    """The hottest sensor's last temperature in degC."""
    return _read("temperature", "celsius") + (
        "  |> last()\n  |> group()\n  |> max()\n"
        '  |> keep(columns: ["_value"])\n  |> rename(columns: {_value: "temperature"})\n'
    )


def nodes_seen() -> str:
    """One row per node: its machine, when its last reading was taken and that reading's age in seconds."""
    return (
        'import "date"\n\n'
        + _last_reading_of("node")
        + (
            "  |> group()\n"
            '  |> map(fn: (r) => ({machine: r.machine, node: r.node, "last reading": r._time, age: '
            f"{_age_s()}}}))\n"
            '  |> sort(columns: ["age"], desc: true)\n'
        )
    )


def sensor_faults() -> str:
    """Sensor faults reported and cleared in the period, newest first."""
    return _read("temperature", "fault") + (
        '  |> group()\n  |> keep(columns: ["_time", "machine", "channel", "_value"])\n'
        '  |> rename(columns: {_time: "time", _value: "fault"})\n'
        '  |> sort(columns: ["time"], desc: true)\n'
    )


# --- parts -----------------------------------------------------------------------------------------------------------


def _chosen(level: str) -> str:
    # Anchored: without it the choice of press-1 would also take press-10.
    return f"r.{level} =~ /^${{{level}:regex}}$/"


def _selection() -> str:
    return "  |> filter(fn: (r) => " + " and ".join(_chosen(level) for level in HIERARCHY) + ")\n"


def _read(measurement: str, field: str, *, start: str = "v.timeRangeStart") -> str:
    return (
        "from(bucket: v.defaultBucket)\n"
        f"  |> range(start: {start}, stop: v.timeRangeStop)\n"
        f'  |> filter(fn: (r) => r._measurement == "{measurement}" and r._field == "{field}")\n' + _selection()
    )


def _before_stop(span: str) -> str:
    return f"date.sub(d: {span}, from: v.timeRangeStop)"


def _per_channel() -> str:
    """Name each series: the machine alone for channel 0, since most machines have only that one."""
    return (
        '  |> map(fn: (r) => ({r with series: if r.channel == "0" then r.machine '
        'else r.machine + " / " + r.channel}))\n'
        '  |> group(columns: ["_measurement", "_field", "series"])\n'
        '  |> sort(columns: ["_time"])\n'
        '  |> keep(columns: ["_time", "_value", "_measurement", "_field", "series"])\n'
    )


def _age_s() -> str:
    return "float(v: int(v: v.timeRangeStop) - int(v: r._time)) / 1000000000.0"


def _place() -> str:
    return ", ".join(f'"{level}"' for level in HIERARCHY)


def _last_reading_of(tag: str) -> str:
    """The time of the last reading of anything, grouped by `tag` and place; needs `import "date"`."""
    group = _place() if tag == "machine" else f'{_place()}, "{tag}"'
    return (
        "from(bucket: v.defaultBucket)\n"
        f"  |> range(start: {_before_stop(SEEN_WITHIN)}, stop: v.timeRangeStop)\n"
        '  |> filter(fn: (r) => r._measurement == "temperature" or r._measurement == "cycles" '
        'or r._measurement == "relay" or r._measurement == "node")\n' + _selection() + "  |> last()\n"
        # Values of different types cannot share a table, so they go before the regrouping.
        f'  |> keep(columns: ["_time", {group}])\n'
        f"  |> group(columns: [{group}])\n"
        '  |> sort(columns: ["_time"])\n'
        '  |> last(column: "_time")\n'
    )


def _counter_ends(start: str) -> str:
    """First and last value of each machine's counter; two short reads that the storage engine answers itself."""
    counter = _read("cycles", "total", start=start) + f'  |> filter(fn: (r) => r.channel == "{MACHINE_COUNTER}")\n'
    return (
        f"union(tables: [\n{counter}  |> first(),\n{counter}  |> last()])\n"
        f"  |> group(columns: [{_place()}])\n"
        '  |> sort(columns: ["_time"])\n'
    )


def _cycles_counted() -> str:
    return _counter_ends("v.timeRangeStart") + "  |> difference(nonNegative: true)\n"


def _as_key(key: str, value: str) -> str:
    place = ", ".join(f"{level}: r.{level}" for level in HIERARCHY)
    return f'  |> map(fn: (r) => ({{{place}, key: "{key}", _value: {value}}}))\n  |> group()\n'


def _snapshot() -> str:
    """Everything known of each machine at the end of the period, one row per machine with its state."""
    last = f"  |> last()\n  |> group(columns: [{_place()}])\n"
    parts = {
        "age": _last_reading_of("machine") + _as_key("age", _age_s()),
        "temperature": _read("temperature", "celsius") + last + "  |> max()\n" + _as_key("temperature", "r._value"),
        "rate": _counter_ends(_before_stop(RATE_WITHIN))
        + "  |> derivative(unit: 1m, nonNegative: true)\n"
        + "  |> filter(fn: (r) => exists r._value)\n"
        + _as_key("rate", "r._value"),
        "cycles": _cycles_counted() + _as_key("cycles", "float(v: r._value)"),
        "relay": _read("relay", "on")
        + f'  |> filter(fn: (r) => r.channel == "{MACHINE_COUNTER}")\n'
        + last
        + _as_key("relay", "float(v: r._value)"),
    }
    definitions = "\n".join(f"{name}Rows = {flux}" for name, flux in parts.items())
    return (
        f'import "date"\n\n{definitions}\n'
        f"union(tables: [{', '.join(f'{name}Rows' for name in parts)}])\n"
        f'  |> pivot(rowKey: [{_place()}], columnKey: ["key"], valueColumn: "_value")\n'
        # A machine is silent before it is anything else: what an old counter says is not known to be true now.
        f'  |> map(fn: (r) => ({{r with state: if not exists r.age or r.age > {SILENT_AFTER_S}.0 then "silent" '
        'else if exists r.rate and r.rate > 0.0 then "running" else "stopped"}))\n'
    )
