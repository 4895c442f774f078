"""First code after power-on: every relay output goes to its safe state before anything else can fail.

Depends on nothing but `machine` and `sys`: not on config.json, not on the node's packages.
"""

import gc
import sys

import machine
from machine import Pin

# Written whenever a configuration is accepted: one "gpio level" per line.
OUTPUTS = "outputs.txt"

# Relay pins of the default boards, driven low (inactive) while there is no good outputs.txt. By chip, because a relay
# pin of one chip is a flash pin of another. Kept equal to andon_node/boards by a test.
DEFAULT_RELAYS = (("ESP32S3", (4, 5)), ("ESP32C3", (4, 5)), ("", (25, 26)))
# An STM32 names its pins by port; numbers are 16 per port (andon_base/chip.py).
STM32_RELAYS = (43, 44)


def configured_outputs():
    """Return [(gpio, level)] of outputs.txt; any doubt about a line is an error."""
    outputs = []
    with open(OUTPUTS) as lines:
        for line in lines:
            gpio, level = line.split()
            if level not in ("0", "1"):
                raise ValueError(line)
            outputs.append((int(gpio), int(level)))
    return outputs


def default_outputs():
    """Return [(gpio, 0)] for the relay pins of this chip's default board."""
    if hasattr(Pin, "cpu"):
        return [(gpio, 0) for gpio in STM32_RELAYS]
    chip = getattr(sys.implementation, "_machine", "")
    for name, pins in DEFAULT_RELAYS:
        if name in chip:
            return [(gpio, 0) for gpio in pins]
    return []


def pin(gpio):
    """Return a GPIO number as this chip's Pin takes it."""
    return getattr(Pin.cpu, "ABCDEFGHIJK"[gpio // 16] + str(gpio % 16)) if hasattr(Pin, "cpu") else gpio  # type: ignore[attr-defined]  # the stubs are the ESP32's


def make_outputs_safe():
    """Drive every relay output into its safe state."""
    try:
        outputs = configured_outputs()
    except Exception:  # missing, torn or wrong: the defaults are safe for any wiring that follows the manual
        outputs = default_outputs()
    for gpio, level in outputs:
        try:
            Pin(pin(gpio), Pin.OUT, value=level)
        # No such pin is said in another way by each chip; the other outputs are made safe all the same.
        except Exception as error:
            print("boot: GPIO%d: %s" % (gpio, error))


make_outputs_safe()

# From here on everything may fail. What lives as long as the node is made while it starts: collecting often puts that side by
# side, so that what is left of the heap is in one piece.
gc.threshold(4096)
try:
    from andon_base import rom

    rom.enter()
except Exception as error:
    print("boot:", repr(error))
globals().pop("rom", None)
try:
    from andon_base import chip, crumbs, slots

    crumbs.read()
    slots.enter()
    if machine.reset_cause() == machine.SOFT_RESET:
        # Whoever reset at the REPL may stay there, and the watchdog of before cannot be stopped.
        chip.keep_watchdog_fed()
except Exception as error:
    print("boot:", repr(error))
