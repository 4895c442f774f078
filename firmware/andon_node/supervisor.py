"""Keeps tasks running: a crash of one is logged, counted and repaired by starting it again, alone."""

import asyncio
import sys
import time

from micropython import const

_FIRST_PAUSE_MS = 500
_MAX_PAUSE_MS = const(30000)


class Supervisor:
    """Runs tasks for ever.

    Attributes:
        last_error: Text of the last crash, None while there was none.
        crashes: Number of crashes.
    """

    def __init__(self):
        self.last_error = None
        self.crashes = 0

    async def finish(self, name, run):
        """Run the coroutine function `run` until it has come to its end once."""
        await self.keep(name, run, once=True)

    async def keep(self, name, run, once=False):
        """Run the coroutine function `run` again and again; a pause that doubles keeps a broken task from spinning."""
        pause_ms = _FIRST_PAUSE_MS
        while True:
            begin = time.ticks_ms()
            try:
                await run()
                if once:
                    return
            except Exception as error:
                # Whatever broke one task must not stop the others, least of all the relays' leases.
                self.crashes += 1
                self.last_error = "%s: %r" % (name, error)
                print("node: task", self.last_error)
                sys.print_exception(error)
            if time.ticks_diff(time.ticks_ms(), begin) > _MAX_PAUSE_MS:
                # It had worked: this is a new fault, not the old one again.
                pause_ms = _FIRST_PAUSE_MS
            await asyncio.sleep_ms(pause_ms)
            pause_ms = min(2 * pause_ms, _MAX_PAUSE_MS)
