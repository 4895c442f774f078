"""The `sensors` section: drivers that are loaded only where the configuration names them."""

# Name in the configuration -> module.
_MODULES = {
    "sht3x": "sht",
    "sht4x": "sht",
    "si7021": "si7021",
    "max31855": "max31855",
    "ntc": "ntc",
    "4-20ma": "loop_current",
    "input": "digital_input",
    "s0": "s0_meter",
    "modbus": "modbus",
}


class SensorConfig:
    """One entry of `sensors`, checked: `names` are the SenML names that it will report."""

    def __init__(self, section, pin):
        kind = section.choice("driver", tuple(sorted(_MODULES)), section.REQUIRED)
        name = "andon_node.drivers." + _MODULES[kind]
        self._module = __import__(name, None, None, ("settings",))
        self._chosen = self._module.settings(section, pin, kind)
        self.names = self._module.names(self._chosen)

    def open(self, shared):
        """Take the hardware and return the driver; `shared` keeps buses that several drivers use."""
        return self._module.open_driver(self._chosen, shared)
