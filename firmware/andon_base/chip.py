"""Where the chips' MicroPython ports differ: pin names, UARTs, watchdog, timers, Ethernet. Everything else treats them alike.

STM32: documentation of `machine` and `pyb` for the STM32 port; ESP32: quick reference for the ESP32. The ports are told
apart by what they offer, not by a name.
"""

import machine
from machine import Pin
from micropython import const

# The STM32 port has its pins by name, `Pin.cpu.B0`.
STM32 = hasattr(Pin, "cpu")

_PORTS = "ABCDEFGHIJK"
# The STM32's independent watchdog: 4,096 steps of 8 ms (reference manual RM0090, section 21.3).
_STM32_WATCHDOG_MS = 32000
# For somebody at the REPL: fed often enough whatever the chip.
_WATCHDOG_MS = const(60000)
_FEED_MS = const(5000)
_timer = None


def pin(gpio):
    """Return a GPIO number as `machine.Pin` takes it; an STM32's are numbered 16 per port: B0 is 16, C13 is 45.

    Raises:
        ValueError: The chip has no such pin.
    """
    if not STM32:
        return gpio
    try:
        # Not by text: on a Nucleo board "A5" is the pin of the Arduino header.
        return getattr(Pin.cpu, _PORTS[gpio // 16] + str(gpio % 16))  # type: ignore[attr-defined]  # the stubs are the ESP32's
    except (AttributeError, IndexError):
        raise ValueError("no GPIO%d" % gpio)  # noqa: B904 - MicroPython keeps no cause


def watchdog(timeout_ms):
    """Arm the watchdog, or set its time anew; a chip that cannot wait so long waits as long as it can."""
    return machine.WDT(timeout=min(timeout_ms, _STM32_WATCHDOG_MS) if STM32 else timeout_ms)


def keep_feeding(armed, period_ms):
    """Feed a watchdog from a timer until `stop_feeding`."""
    global _timer
    stop_feeding()
    # The STM32's timers of this kind are made of software and have no numbers.
    _timer = machine.Timer(-1 if STM32 else 0)
    _timer.init(period=period_ms, mode=machine.Timer.PERIODIC, callback=lambda _timer: armed.feed())


def keep_watchdog_fed():
    """Feed a watchdog from here on, also one that is armed already."""
    keep_feeding(watchdog(_WATCHDOG_MS), _FEED_MS)


def stop_feeding():
    """Stop the timer, if it runs."""
    global _timer
    if _timer is not None:
        _timer.deinit()
        _timer = None


def uart(number, baud, tx=None, rx=None, **options):
    """Open a UART on its own pins, or on `tx` and `rx` where the chip can choose.

    Raises:
        ValueError: The chip cannot choose.
    """
    if STM32:
        if tx is not None:
            raise ValueError("UART%d has pins of its own here: leave tx and rx out" % number)
        # It sends without a buffer: `write` takes as long as the bytes take.
        options.pop("txbuf", None)
        return machine.UART(number, baud, **options)
    port = machine.UART(number, baud, **options)
    if tx is not None:
        settings = {key: options[key] for key in ("bits", "parity", "stop") if key in options}
        port.init(baud, tx=Pin(tx), rx=Pin(rx), **settings)
    return port


def lan():
    """The board's Ethernet interface."""
    from network import LAN

    return LAN() if STM32 else LAN(0)  # type: ignore[call-arg]  # the stubs are the ESP32's; the STM32 takes no number


def start_lan(nic):
    """Switch the Ethernet interface on unless it is; return whether it is on now.

    Raises:
        OSError: The interface does not answer.
    """
    if STM32:
        # Here `active()` says whether a cable is plugged in, and `active(True)` waits ten seconds for one: nothing else
        # would run meanwhile.
        if not nic.active():
            return False
        nic.active(True)
    elif not nic.active():
        nic.active(True)
    return True
