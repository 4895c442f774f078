"""Which application this start runs: slot `app_a`, slot `app_b`, the one put on with these files, or recovery.

A new version runs on trial: it is confirmed by itself once it works, and given up after three starts without that, at a
watchdog reset or at a crash. A confirmed version that keeps crashing gives way to the one before it. The state is one line of
JSON and its CRC-32; without a good one the newest confirmed slot runs.
"""

import binascii
import json
import os
import sys

import machine
from micropython import const

from andon_base import chip, crumbs

SLOTS = ("app_a", "app_b")
# The application that was put onto the board together with these files.
ROOT = ""
RECOVERY = "recovery"

_STATE = const("slots.json")
# In a slot: the signed list of its files, moved in when all of them are checked; and the mark of a version that has worked.
MANIFEST = "/manifest"
_CONFIRMED = const("/confirmed")
# A GPIO number and the level that asks for recovery, such as `0 0`.
_PIN = const("recovery_pin.txt")

_TRIES = const(3)
_CRASHES = const(3)

# What this start runs, set by `enter`.
running = ROOT


class State:
    """The line on the flash.

    Attributes:
        active: What to run.
        previous: What to fall back to, None when there is nothing.
        trial: Starts on trial so far, None when confirmed.
        crashes: Crashes of the confirmed version since it last worked.
        last: How the last update ended, for people.
    """

    def __init__(self, fields):
        self.active = fields.get("active", ROOT)
        self.previous = fields.get("previous")
        self.trial = fields.get("trial")
        self.crashes = fields.get("crashes", 0)
        self.last = fields.get("last", "")

    def fields(self):
        """What is kept."""
        return {
            "active": self.active,
            "previous": self.previous,
            "trial": self.trial,
            "crashes": self.crashes,
            "last": self.last,
        }


def load():
    """Read the state, or make one up from what the slots look like."""
    try:
        with open(_STATE) as file:
            text, _, crc = file.read().partition("\n")
        if int(crc, 16) == binascii.crc32(text.encode()):
            return State(json.loads(text))
    except (OSError, ValueError):
        pass
    newest = max([(version_of(slot), slot) for slot in SLOTS if _exists(slot + _CONFIRMED)] or [((), ROOT)])
    return State({"active": newest[1]})


def save(state):
    """Replace the state; littlefs makes the rename atomic."""
    text = json.dumps(state.fields())
    with open(_STATE + ".new", "w") as file:
        file.write("%s\n%08x" % (text, binascii.crc32(text.encode())))
    os.rename(_STATE + ".new", _STATE)


def version_of(slot):
    """Version of a complete slot as a tuple; empty for one that is not complete."""
    try:
        with open(slot + MANIFEST) as file:
            for line in file:
                key, _, value = line.strip().partition(" ")
                if key == "version":
                    return parse_version(value)
    except (OSError, ValueError):
        pass
    return ()


def parse_version(text):
    """Turn `1.2.3` into (1, 2, 3).

    Raises:
        ValueError: It is nothing like that.
    """
    numbers = tuple(int(part) for part in text.split("."))
    if len(numbers) != 3 or min(numbers) < 0:
        raise ValueError("version: expected three numbers such as 1.2.3")
    return numbers


def _exists(path):
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def _runnable(slot):
    return _exists("andon_node") if slot == ROOT else _exists(slot + MANIFEST)


def choose(state, watchdog_bit, asked):
    """Decide what runs and note it in the state, which the caller saves when it changed.

    Args:
        state: The state, changed in place.
        watchdog_bit: Whether the last start ended by the watchdog.
        asked: Whether somebody asks for recovery at the board.
    """
    if asked:
        return RECOVERY
    if state.trial is not None:
        if not _runnable(state.active):
            _fall_back(state, "its files are missing")
        elif watchdog_bit and state.trial:
            _fall_back(state, "the watchdog bit")
        elif state.trial >= _TRIES:
            _fall_back(state, "%d starts without a confirmation" % _TRIES)
        else:
            state.trial += 1
            return state.active
    elif watchdog_bit:
        state.crashes += 1
    if state.crashes >= _CRASHES or not _runnable(state.active):
        # Once in recovery, the next start begins anew with what there is.
        state.crashes = 0
        return RECOVERY if not _step_down(state) else state.active
    return state.active


def _fall_back(state, why):
    print("slots: %s given up: %s" % (state.active, why))
    state.last = "rolled back %s: %s" % (".".join(str(part) for part in version_of(state.active)), why)
    state.active = ROOT if state.previous is None else state.previous
    state.previous = None
    state.trial = None
    state.crashes = 0


def _step_down(state):
    """Go to the next older application that can run; return whether there is one."""
    for slot in (state.previous, ROOT):
        if slot is not None and slot != state.active and _runnable(slot):
            state.last = "stepped down from %s" % (state.active or "the base")
            print("slots:", state.last)
            state.active = slot
            state.previous = None
            return True
    return False


def _asked():
    try:
        with open(_PIN) as file:
            gpio, level = file.read().split()
        return machine.Pin(chip.pin(int(gpio)), machine.Pin.IN).value() == int(level)
    except (OSError, ValueError):
        return False


def enter():
    """Choose and put the choice first on the module path."""
    global running
    state = load()
    before = state.fields()
    running = choose(state, crumbs.cause == "watchdog", _asked())
    if state.fields() != before:
        try:
            save(state)
        except OSError as error:
            # A trial that cannot be counted is none.
            print("slots:", error)
            if state.trial is not None:
                running = ROOT if state.previous is None else state.previous
    if running in SLOTS:
        from andon_base import rom

        # The manifest was signed and tells the content of every file.
        sys.path.insert(0, rom.place(running, running + MANIFEST))
        rom.forget()


def spare():
    """The slot that an update may write into."""
    state = load()
    used = state.active if running == RECOVERY else running
    return SLOTS[1] if used == SLOTS[0] else SLOTS[0]


def clear(slot):
    """Make a slot empty; from the first step on it counts as incomplete."""
    state = load()
    if state.previous == slot:
        state.previous = None
        save(state)
    for name in (_CONFIRMED, MANIFEST):
        if _exists(slot + name):
            os.remove(slot + name)
    if _exists(slot):
        _remove_tree(slot)
    os.mkdir(slot)


def _remove_tree(folder):
    for name, kind, *_ in os.ilistdir(folder):
        if kind == 0x4000:
            _remove_tree(folder + "/" + name)
        else:
            os.remove(folder + "/" + name)
    os.rmdir(folder)


def activate(slot):
    """Run a complete slot on trial from the next start on."""
    state = load()
    state.previous = state.active
    state.active = slot
    state.trial = 0
    state.crashes = 0
    state.last = ""
    save(state)


def on_trial():
    """Whether this start runs a version that is not confirmed yet."""
    state = load()
    return running == state.active and state.trial is not None


def confirm():
    """The application works: keep it. Writes only when that is news."""
    state = load()
    if running != state.active or (state.trial is None and not state.crashes):
        return
    if state.trial is not None:
        with open(state.active + _CONFIRMED, "w"):
            pass
        state.last = "confirmed"
    state.trial = None
    state.crashes = 0
    save(state)


def give_up(why):
    """Put the version on trial aside; the next start runs the one before it."""
    state = load()
    if running == state.active and state.trial is not None:
        _fall_back(state, why)
        save(state)


def crashed(why):
    """Count a crash of what runs; return whether it was on trial and is given up."""
    state = load()
    trial = state.trial is not None
    if running != state.active:
        return False
    if trial:
        _fall_back(state, why)
    else:
        state.crashes += 1
    try:
        save(state)
    except OSError as error:
        print("slots:", error)
    return trial
