"""Run the application that boot.py chose (andon_base/slots.py), or the recovery."""

import sys
import time

import machine

try:
    from andon_base import start

    start.run("config.json")
except Exception as error:
    # Without its base the board cannot do more than this. The outputs are safe; the pause keeps a REPL within reach.
    sys.print_exception(error)
    time.sleep(10)
    machine.reset()
