"""Runs what `slots` chose, under a watchdog, and takes the consequences when it crashes."""

import sys
import time

import machine
from micropython import const

from andon_base import chip, crumbs, slots

# The application takes the watchdog over with its own `machine.WDT`; until then this covers its import and its set-up.
_WATCHDOG_MS = const(60000)
_CRASH_PAUSE_S = const(10)


def run(config_path):
    """Run the node or the recovery; comes back only by a reset."""
    try:
        if slots.running == slots.RECOVERY:
            from andon_base import recovery

            recovery.run(config_path, "no application works here")
        else:
            chip.watchdog(_WATCHDOG_MS)
            chip.stop_feeding()
            from andon_node.node import run_node

            run_node(config_path)
    except KeyboardInterrupt:
        # Somebody at the REPL; the watchdog cannot be stopped, so it is fed for them.
        chip.keep_watchdog_fed()
        raise
    except Exception as error:
        sys.print_exception(error)
        crumbs.leave("crash: %r" % error)
        if not slots.crashed("%r" % error):
            # The outputs are safe; the pause keeps this from becoming a hot boot loop.
            time.sleep(_CRASH_PAUSE_S)
        machine.reset()
