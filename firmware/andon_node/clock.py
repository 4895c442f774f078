"""Two times: milliseconds since the start, always there, and the epoch, once the gateway told it."""

import time


class Clock:
    """All arithmetic is in integers: a board's 32-bit float cannot hold an epoch.

    Attributes:
        on_epoch: Called with the epoch at the start whenever that is learnt.
    """

    def __init__(self):
        self._ticks = time.ticks_ms()
        self._elapsed = 0
        self._offset = None
        self.on_epoch = None

    def monotonic_ms(self):
        """Milliseconds since the start; never wraps as long as it is asked once in six days (ticks_ms wraps)."""
        now = time.ticks_ms()
        self._elapsed += time.ticks_diff(now, self._ticks)
        self._ticks = now
        return self._elapsed

    def set_epoch(self, epoch_ms, at_monotonic_ms):
        """Note which epoch time it was at a monotonic time."""
        self._offset = epoch_ms - at_monotonic_ms
        if self.on_epoch is not None:
            self.on_epoch(self._offset)

    def known(self):
        """Whether the epoch is known."""
        return self._offset is not None

    def epoch_ms(self, monotonic_ms):
        """Epoch milliseconds of a monotonic time, or None while unknown."""
        return None if self._offset is None else self._offset + monotonic_ms

    def base_time_ms(self, taken_ms):
        """SenML base time for something taken at a monotonic time: the epoch, or minus its age [RFC 8428 4.5.3]."""
        epoch = self.epoch_ms(taken_ms)
        return taken_ms - self.monotonic_ms() if epoch is None else epoch
