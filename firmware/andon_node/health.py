"""The node's own health: for `/health` and as `node/...` records."""

import asyncio
import gc
import time

from micropython import const

import andon_node
from andon_base import crumbs

_PERIOD_MS = const(100)
# Lateness is counted in classes of doubling width: below 1, 2, 4 ... 16384 ms, and above.
_CLASSES = const(16)


class LoopLag:
    """Measures how late the event loop comes, in fixed memory.

    Attributes:
        turns: How often it came.
        p99_ms: Within this the loop came 99 times of 100, up to the next power of two, in the last full window.
        max_ms: The worst in that window.
    """

    def __init__(self):
        self.turns = 0
        self.p99_ms = 0
        self.max_ms = 0
        self._worst = 0
        self._counts = [0] * _CLASSES

    async def run(self):
        """Measure for ever."""
        while True:
            begin = time.ticks_ms()
            await asyncio.sleep_ms(_PERIOD_MS)
            self.note(time.ticks_diff(time.ticks_ms(), begin) - _PERIOD_MS)

    def note(self, late_ms):
        """Count one turn."""
        self.turns += 1
        self._worst = max(self._worst, late_ms)
        number = 0
        while number < _CLASSES - 1 and late_ms >= 1 << number:
            number += 1
        self._counts[number] += 1

    def close_window(self):
        """Take the results of the window that ends now."""
        left = sum(self._counts)
        if not left:
            return
        left -= left // 100
        number = -1
        while left > 0:
            number += 1
            left -= self._counts[number]
        self.p99_ms = min((1 << number) - 1, self._worst)
        self.max_ms = self._worst
        self._worst = 0
        for number in range(_CLASSES):
            self._counts[number] = 0


def largest_block():
    """Bytes of the largest block that can be allocated now."""
    try:
        import esp32

        # The ESP32's heap grows out of the system's memory, which knows the answer; a probe would make it grow.
        return max(region[2] for region in esp32.idf_heap_info(esp32.HEAP_DATA))
    except (ImportError, AttributeError):
        pass
    low, high = 0, gc.mem_free()
    while high - low > 512:
        size = (low + high) // 2
        try:
            bytearray(size)
        except MemoryError:
            high = size
        else:
            low = size
    gc.collect()
    return low


class Health:
    """Knows whom to ask."""

    def __init__(self, boot, clock, supervisor, outbox, gateway, link, drivers, lag):
        """Take the parts of the node that have something to say."""
        self._boot = boot
        self._clock = clock
        self._supervisor = supervisor
        self._outbox = outbox
        self._gateway = gateway
        self._link = link
        self._drivers = drivers
        self._lag = lag
        self._heap_largest = 0
        self._cause_told = False

    def _crc_errors(self):
        return sum(getattr(driver, "crc_errors", 0) for driver in self._drivers)

    def readings(self):
        """Yield (name, unit, value) for the packs; called after a garbage collection."""
        self._heap_largest = largest_block()
        self._lag.close_window()
        if not self._cause_told:
            self._cause_told = True
            yield "node/reset_cause", None, crumbs.cause
        yield "node/heap_free", "B", gc.mem_free()
        yield "node/heap_largest", "B", self._heap_largest
        yield "node/loop_lag", "ms", self._lag.p99_ms
        yield "node/loop_lag_max", "ms", self._lag.max_ms
        rssi = self._link.rssi()
        if rssi is not None:
            yield "node/rssi", "dBm", rssi
        yield "node/uptime_s", "s", self._clock.monotonic_ms() // 1000
        yield "node/queued", "count", len(self._outbox)
        yield "node/rejected", "count", self._gateway.rejected
        yield "node/dropped", "count", self._outbox.dropped
        yield "node/crc_errors", "count", self._crc_errors()
        yield "node/crashes", "count", self._supervisor.crashes

    def document(self):
        """Everything, for `GET /health`."""
        return {
            "version": andon_node.VERSION,
            "uptime_s": self._clock.monotonic_ms() // 1000,
            "boot": self._boot,
            "reset_cause": crumbs.cause,
            "reset_detail": crumbs.detail,
            "heap_free": gc.mem_free(),
            "heap_largest": self._heap_largest,
            "loop_lag_ms": self._lag.p99_ms,
            "loop_lag_max_ms": self._lag.max_ms,
            "queued": len(self._outbox),
            "rejected": self._gateway.rejected,
            "dropped": self._outbox.dropped,
            "rssi": self._link.rssi(),
            "crc_errors": self._crc_errors(),
            "crashes": self._supervisor.crashes,
            "last_error": self._supervisor.last_error,
        }
