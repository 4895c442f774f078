"""Sensors and outputs of the node, one file per kind; only what the configuration uses is loaded.

Every sensor driver is an object with

- `name`: SenML name of its first quantity, such as `temperature/0`; its fault is recorded as `temperature/0/fault`;
- `fault`: `ok`, or why the last reading failed (docs/protocol.md has the words);
- `prepare()`: starts a measurement and returns how many milliseconds it takes, 0 when there is nothing to start;
- `read()`: the readings taken now as a sequence of (name, unit, value), empty where there is none;
- `run(report)`, only where a driver works at its own pace (a debounced input, a bus): a coroutine that never ends and
  calls `report(driver)` whenever `read()` has something new;
- `keep_up()`, only where something would be lost between samples that are far apart: called at least every 30 s.

A driver module that `config_drivers` loads offers as well

- `settings(section, pin, kind)`: checks one entry of `sensors` and returns what `open_driver` needs;
- `names(settings)`: the SenML names that it will report;
- `open_driver(settings, shared)`: takes the hardware; `shared` is a dictionary for buses that several drivers use.
"""

OK = "ok"
ABSENT = "absent"
CRC = "crc"
RANGE = "range"
