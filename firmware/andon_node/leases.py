"""Leases on flash, for relays whose state is to be restored after a reset; only as long as the clock proves the lease."""

import asyncio

from micropython import const

from andon_node import flash

_POLL_MS = const(500)


class Leases:
    """One line per relay that is on lease: channel, state (0, 1), epoch milliseconds of the end.

    Args:
        relays: Only those with `restored` are kept.
        clock: Monotonic time and epoch.
        path: The file.
    """

    def __init__(self, relays, clock, path="leases.txt"):
        self._relays = [relay for relay in relays if relay.restored]
        self._clock = clock
        self._path = path
        self._kept = self._read()
        # Channel -> (state, epoch of the end) of leases that a reset interrupted.
        self._interrupted = {}
        for line in self._kept.split("\n"):
            try:
                channel, state, end_ms = (int(word) for word in line.split())
            except ValueError:
                continue
            self._interrupted[channel] = (state == 1, end_ms)

    def _read(self):
        if not self._relays:
            return ""
        try:
            with open(self._path) as file:
                return file.read()
        except (OSError, UnicodeError):
            return ""

    def keep(self):
        """After any change of an output: what is on lease now. A lease that no clock can prove later is not kept."""
        text = ""
        now = self._clock.monotonic_ms()
        for relay in self._relays:
            if relay.lease_left_ms() and self._clock.known():
                end_ms = self._clock.epoch_ms(now + relay.lease_left_ms())
                # Whole seconds: the same lease is written once.
                text += "%d %d %d\n" % (relay.channel, relay.state(), end_ms // 1000 * 1000)
            elif relay.channel in self._interrupted:
                state, end_ms = self._interrupted[relay.channel]
                text += "%d %d %d\n" % (relay.channel, state, end_ms)
        if text != self._kept:
            self._kept = text
            try:
                flash.write_atomically(self._path, text)
            except OSError as error:
                print("leases: not on flash:", error)

    def forget(self, relay):
        """A command, an interlock or silence decided otherwise since the reset."""
        self._interrupted.pop(relay.channel, None)

    async def restore(self):
        """Take interrupted leases up again, each as soon as the clock is known and the relay may switch."""
        while self._interrupted:
            if self._clock.known():
                for relay in self._relays:
                    if relay.channel in self._interrupted:
                        await self._restore(relay)
                for channel in list(self._interrupted):
                    if not any(relay.channel == channel for relay in self._relays):
                        del self._interrupted[channel]
            await asyncio.sleep_ms(_POLL_MS)
        self.keep()

    async def _restore(self, relay):
        state, end_ms = self._interrupted[relay.channel]
        left_s = (end_ms - self._clock.epoch_ms(self._clock.monotonic_ms())) // 1000
        if left_s < 1 or relay.tripped:
            self.forget(relay)
        elif relay.refusal(state) is None:
            self.forget(relay)
            print("relay %d: lease of before the reset goes on for %d s" % (relay.channel, left_s))
            await relay.switch(state, left_s)
