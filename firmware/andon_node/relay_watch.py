"""Watches the relays: ends leases in time, makes safe when the gateway is silent, reports every change at once."""

import asyncio

from micropython import const

_POLL_MS = const(20)
# Changes that come together (several relays, a bouncing contact) go into one pack.
_GATHER_MS = const(20)


class RelayWatch:
    """Polls the relays.

    Attributes:
        polls: How often; the progress that the watchdog sees.

    Args:
        relays: All of them.
        interlocks: Beat everything else.
        leases: Kept on flash.
        clock: Monotonic time.
        hold_ms: How long the gateway may be silent; 0: for ever.
        heard_ms: Returns when it was last heard.
        report: Records and flushes what the contacts do.
    """

    def __init__(self, relays, interlocks, leases, clock, hold_ms, heard_ms, report):
        self._relays = relays
        self._interlocks = interlocks
        self._leases = leases
        self._clock = clock
        self._hold_ms = hold_ms
        self._heard_ms = heard_ms
        self._report = report
        self._seen = [relay.contact() for relay in relays]
        self._executed = False
        self.polls = 0

    def command_executed(self):
        """A command was carried out: report, even if it changed nothing."""
        self._executed = True

    async def run(self):
        """Watch for ever."""
        while True:
            await asyncio.sleep_ms(_POLL_MS)
            self.polls += 1
            self._interlocks.watch()
            if self._changed() or self._executed:
                self._executed = False
                await asyncio.sleep_ms(_GATHER_MS)
                self._changed()
                self._report()
                self._leases.keep()

    def _changed(self):
        changed = False
        silent = self._hold_ms and self._clock.monotonic_ms() - self._heard_ms() > self._hold_ms
        for index, relay in enumerate(self._relays):
            if relay.expire():
                print("relay %d: lease over, safe state" % relay.channel)
            if silent:
                self._leases.forget(relay)
                if relay.make_safe():
                    print("relay %d: gateway silent, safe state" % relay.channel)
            contact = relay.contact()
            if contact != self._seen[index]:
                self._seen[index] = contact
                changed = True
        return changed
