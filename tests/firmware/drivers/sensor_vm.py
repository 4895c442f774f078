"""The configured drivers in the real MicroPython VM on a register file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from firmware.micropython_vm import LineVm

if TYPE_CHECKING:
    from firmware.register_file import RegisterFile

_SOURCE = """
import asyncio, json, sys
import registers
registers.attach(sys.argv[1])
from andon_node import config
from andon_node.drivers import analog, loop_current, max31855, modbus, ntc, s0_meter, sht
modbus.print = lambda *_: None  # the answers' channel is stdout
shared = {}
drivers = [item.open(shared) for item in config.load(sys.argv[2]).sensors]

async def sample():
    await asyncio.sleep_ms(max([driver.prepare() for driver in drivers]))
    for driver in drivers:
        if hasattr(driver, "ask_all"):
            await driver.ask_all()
    return [[list(driver.read()), driver.fault] for driver in drivers]

def answer(line):
    if line != "sample":
        return json.dumps(eval(line))
    return json.dumps(asyncio.run(sample()))
"""


def node_config(*sensors: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The smallest document with these sensors."""
    return {
        "version": 1,
        "node": "press-1",
        "wifi": {"ssid": "hall"},
        "gateway": {"host": "gateway"},
        "sensors": list(sensors),
        **changes,
    }


class SensorVm:
    """Use as a context manager; each `sample` is one round of all drivers."""

    def __init__(self, registers: RegisterFile, *sensors: dict[str, Any]) -> None:
        # As a file: an argument of the VM has at most 255 bytes.
        path = registers.path.with_suffix(".json")
        path.write_text(json.dumps(node_config(*sensors)))
        self._arguments = (str(registers.path), str(path))

    def __enter__(self) -> Self:
        self._vm = LineVm(_SOURCE, *self._arguments, sim=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._vm.close()

    def sample(self) -> list[tuple[dict[str, Any], str]]:
        """Per driver: value by name, and the fault. Units are checked against docs/protocol.md's table elsewhere."""
        line = self._vm.ask("sample")
        return [({name: value for name, _, value in readings}, fault) for readings, fault in json.loads(line)]

    def eval(self, expression: str) -> Any:
        """The value of an expression over the driver modules."""
        return json.loads(self._vm.ask(expression))
