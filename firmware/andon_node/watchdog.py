"""The hardware watchdog, fed only by a task that has seen the others make progress."""

import asyncio

from micropython import const

from andon_base import chip, crumbs

# The loop turns many times a second; one that stands still for this long will not come back by itself.
BITE_MS = 30000
_LOOK_MS = const(1000)


class Watchdog:
    """Feeds as long as everybody under watch makes progress within their time.

    Under watch is what the node is for: sampling, the outputs, the loop itself. What waits for others (the gateway, the
    Wi-Fi) is not: their absence is no reason to restart.
    """

    def __init__(self, clock):
        self._clock = clock
        self._watched = []

    def watch(self, name, progress, limit_ms):
        """Expect `progress()` to give another value at least every `limit_ms`."""
        self._watched.append([name, progress, limit_ms, None, self._clock.monotonic_ms()])

    def stuck(self):
        """Return the name of somebody who made no progress in time, None when all is well."""
        now = self._clock.monotonic_ms()
        for entry in self._watched:
            name, progress, limit_ms, seen, since = entry
            value = progress()
            if value != seen:
                entry[3] = value
                entry[4] = now
            elif now - since > limit_ms:
                return name
        return None

    async def run(self):
        """Feed for ever, or until somebody is stuck: then the watchdog bites, and the next start can tell who it was."""
        hardware = chip.watchdog(BITE_MS)
        while True:
            name = self.stuck()
            if name is not None:
                print("watchdog: no progress of", name)
                crumbs.leave("watchdog: no progress of " + name)
                break
            hardware.feed()
            await asyncio.sleep_ms(_LOOK_MS)
        await asyncio.Event().wait()
