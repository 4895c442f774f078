"""What MicroPython's STM32 port has otherwise than the ESP32's: pins by name, watchdog, timers, UARTs, Ethernet, no radio.

After the documentation of the STM32 port and the reference manual RM0090. `enter` turns the modules of this folder into
an STM32's; pins 0 to 47 of the register file are A0 to A15, B0 to B15, C0 to C15.
"""

import machine
import network
import sim_parts

_PORTS = "ABC"
# 4,096 steps of the independent watchdog at 256 / 32 kHz.
_LONGEST_WATCHDOG_MS = 32768


class _CpuPins:
    def __getattr__(self, name):
        port, number = name[:1], name[1:]
        if not port or port not in _PORTS or not number.isdigit() or int(number) > 15:
            raise AttributeError("no attribute '%s'" % name)
        return Pin(self, gpio=16 * _PORTS.index(port) + int(number))


_cpu = _CpuPins()


class Pin(machine.Pin):
    """A pin by its name; a number is none."""

    cpu = _cpu

    def __init__(self, id, mode=-1, pull=None, *, value=None, gpio=None):  # noqa: A002 - MicroPython's signature
        if id is not _cpu:
            if not isinstance(id, Pin):
                raise ValueError("Pin(%s) doesn't exist" % id)
            gpio = id.gpio
        super().__init__(gpio, mode, pull, value=value)


class WDT(machine.WDT):
    """The independent watchdog: half a minute at most."""

    def __new__(cls, id=0, timeout=5000):  # noqa: A002 - MicroPython's signature
        """There is one."""
        if timeout > _LONGEST_WATCHDOG_MS:
            raise ValueError("WDT timeout too long")
        return _WDT.__new__(_WDT, id, timeout)


class Timer(machine.Timer):
    """Software timers, without numbers."""

    def __new__(cls, id=-1, **options):  # noqa: A002 - MicroPython's signature
        """Each is a new one."""
        if id != -1:
            raise ValueError("Timer doesn't exist")
        return _Timer.__new__(_Timer, id, **options)


def _uart(number, baudrate=9600, *, bits=8, parity=None, stop=1, timeout=0, rxbuf=256):  # noqa: ARG001 - MicroPython's signature
    if not 1 <= number <= 6:
        raise ValueError("UART(%d) doesn't exist" % number)
    return sim_parts.load("sim_uart").UART(number, baudrate, bits=bits, parity=parity, stop=stop, rxbuf=rxbuf)


def enter():
    """From here on the board is an STM32."""
    machine.family = "stm32"
    machine.SOFT_RESET = 0
    machine.Pin = Pin
    machine.WDT = WDT
    machine.Timer = Timer
    machine.UART = _uart
    del machine.Counter
    del network.WLAN


_WDT = machine.WDT
_Timer = machine.Timer
