"""Relay outputs: safe state, lease, minimum times, interlocks' hold, contact read-back."""

import asyncio

from machine import Pin
from micropython import const

from andon_base import chip

# A relay's contact follows its coil within about 10 ms; what takes longer than this does not follow.
_FOLLOW_MS = const(100)
_POLL_MS = const(2)


class Relay:
    """One relay output, driven into its safe state when it is set up and whenever its lease runs out.

    Attributes:
        tripped: Whether an interlock ever acted on it.

    Args:
        item: A `RelayConfig`.
        clock: Monotonic time.
    """

    def __init__(self, item, clock):
        self.channel = item.channel
        self.restored = item.restored
        self.safe = item.safe
        self._active_high = item.active_high
        self._clock = clock
        self._commanded = item.safe
        self._deadline_ms = None
        # A start counts as a change: what the output did before is not known.
        self._changed_ms = clock.monotonic_ms()
        self._min_ms = {True: item.min_on_s * 1000, False: item.min_off_s * 1000}
        self._held = None
        self.tripped = False
        # The level comes with the set-up, so the output never shows the wrong one in between.
        self._coil = Pin(chip.pin(item.gpio), Pin.OUT, value=self._level(item.safe))
        self._contact = None if item.contact_gpio is None else Pin(chip.pin(item.contact_gpio), Pin.IN)
        self._contact_active_high = item.contact_active_high

    def _level(self, state):
        return 1 if state == self._active_high else 0

    def state(self):
        """What the output was told."""
        return self._commanded

    def contact(self):
        """What the contact does; without a read-back input, what the output drives."""
        if self._contact is None:
            return (self._coil.value() == 1) == self._active_high
        return (self._contact.value() == 1) == self._contact_active_high

    def lease_left_ms(self):
        """Milliseconds of the lease that are left, 0 in the safe state."""
        if self._deadline_ms is None:
            return 0
        return max(0, self._deadline_ms - self._clock.monotonic_ms())

    def refusal(self, state):
        """Return why no command may put the output into this state now, or None."""
        if self._held is not None:
            return self._held
        wait_ms = self._changed_ms + self._min_ms[self._commanded] - self._clock.monotonic_ms()
        if state != self._commanded and wait_ms > 0:
            what = "on" if self._commanded else "off"
            return "stays %s for another %d s (min_%s_s)" % (what, (wait_ms + 999) // 1000, what)
        return None

    def _drive(self, state):
        if state != self._commanded:
            self._changed_ms = self._clock.monotonic_ms()
        self._commanded = state
        self._coil.value(self._level(state))

    async def switch(self, state, lease_s):
        """Switch and wait for the contact; return whether it follows. One that does not ends in the safe state."""
        self._drive(state)
        self._deadline_ms = None if state == self.safe else self._clock.monotonic_ms() + lease_s * 1000
        for _ in range(_FOLLOW_MS // _POLL_MS):
            if self.contact() == state:
                return True
            await asyncio.sleep_ms(_POLL_MS)
        self.make_safe()
        return False

    def make_safe(self):
        """Go to the safe state, minimum times or not; return whether that changed anything. An interlock's hold stays."""
        if self._held is not None or (self._deadline_ms is None and self._commanded == self.safe):
            return False
        self._deadline_ms = None
        self._drive(self.safe)
        return True

    def expire(self):
        """Go to the safe state if the lease has run out; return whether it just did."""
        if self._deadline_ms is None or self._clock.monotonic_ms() < self._deadline_ms:
            return False
        return self.make_safe()

    def hold(self, state, why, tripped):
        """An interlock takes the output: no command, lease or silence moves it until `release`."""
        self.tripped |= tripped
        self._held = why
        self._deadline_ms = None
        self._drive(state)

    def release(self):
        """The interlock has passed: safe state, until a command comes."""
        if self._held is not None:
            self._held = None
            self.make_safe()
