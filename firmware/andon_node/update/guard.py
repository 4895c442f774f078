"""Confirms a version by what it does, not by that it starts; a version on trial that cannot is given up."""

import asyncio

from micropython import const

from andon_base import crumbs, slots
from andon_node.update import image_trial

_POLL_MS = const(500)
# How long everything must go well, and how long a version may take for that. Longer than the supervisor's longest pause: a
# task that crashes again and again is not taken for one that works.
SETTLE_MS = 60000
LIMIT_MS = 600000


class Guard:
    """Watches one start of the node."""

    def __init__(self, works, crashes, clock, settle_ms=SETTLE_MS, limit_ms=LIMIT_MS):
        """Take `works()`: sampled and heard by the gateway; `crashes()`: how many tasks crashed so far."""
        self._works = works
        self._crashes = crashes
        self._clock = clock
        self._settle_ms = settle_ms
        self._limit_ms = limit_ms

    async def run(self):
        """Return when the running version is confirmed; a version on trial may end here with a reset instead."""
        begin = self._clock.monotonic_ms()
        image = image_trial.on_trial()
        on_trial = image or slots.on_trial()
        crashes = self._crashes()
        good_since = None
        while True:
            now = self._clock.monotonic_ms()
            if not self._works() or self._crashes() != crashes:
                good_since = None
                crashes = self._crashes()
            elif good_since is None:
                good_since = now
            if good_since is not None and now - good_since >= self._settle_ms:
                if image:
                    image_trial.confirm()
                slots.confirm()
                if on_trial:
                    print("update: confirmed")
                return
            if on_trial and now - begin >= self._limit_ms:
                self._give_up(image)
            await asyncio.sleep_ms(_POLL_MS)

    def _give_up(self, image):
        why = "not confirmed within %d s" % (self._limit_ms // 1000)
        if image:
            # Not marked valid: the bootloader goes back by itself.
            image_trial.forget()
        slots.give_up(why)
        crumbs.reset("rollback: " + why)
