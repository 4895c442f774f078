"""Breadcrumbs: one line on the flash that tells the next start how this one ended.

An ESP32 reports a brown-out like a power-on. The line says `running` as long as nothing else is known, so a power-on that
finds `running` was a loss of power, and one that finds nothing or a reset on purpose was not.
"""

import os

import machine
from micropython import const

_FILE = const("crumb.txt")
_RUNNING = const("running")

# Why this start happened, and words about it, set by `read`.
cause = "power-on"
detail = ""


def read():
    """Find out why this start happened and mark it as running. Writes only when the last one ended on purpose."""
    global cause, detail
    try:
        with open(_FILE) as file:
            left = file.read()
    except OSError:
        left = ""
    cause, detail = explain(machine.reset_cause(), left)
    if left != _RUNNING:
        leave(_RUNNING)


def explain(reset_cause, left):
    """Return (cause, detail) for what the chip says and what the last start left behind."""
    kind, _, words = left.partition(": ")
    if reset_cause == machine.WDT_RESET:
        return "watchdog", words if kind == "watchdog" else ""
    if reset_cause == machine.PWRON_RESET:
        return ("power-loss", "") if left == _RUNNING else ("power-on", "")
    if reset_cause == machine.DEEPSLEEP_RESET:
        return "deep-sleep", ""
    if kind in ("crash", "reset"):
        return kind, words
    if reset_cause == machine.SOFT_RESET:
        return "reset", "soft"
    # The chip reset itself, by a panic or its reset pin, and the firmware did not ask for it.
    return "panic", ""


def leave(text):
    """Leave a line for the next start; a flash that fails here must not keep the board from starting."""
    try:
        with open(_FILE + ".new", "w") as file:
            file.write(text)
        os.rename(_FILE + ".new", _FILE)
    except OSError as error:
        print("crumb:", error)


def reset(why):
    """Restart on purpose."""
    print("reset:", why)
    leave("reset: " + why)
    machine.reset()
