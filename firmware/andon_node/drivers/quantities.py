"""What generic inputs may measure: SenML name -> unit (docs/protocol.md, IANA's SenML units)."""

UNITS = {
    "temperature": "Cel",
    "humidity": "%RH",
    "pressure": "Pa",
    "flow": "m3/s",
    "level": "m",
    "mass": "kg",
    "rotation": "1/min",
    "voltage": "V",
    "current": "A",
    "power": "W",
    "reactive_power": "var",
    "apparent_power": "VA",
    "power_factor": "/",
    "frequency": "Hz",
    "meter": "J",
}
