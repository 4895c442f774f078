"""MicroPython's `time` with one addition: asking for ticks first delivers the pin interrupts that are due.

asyncio asks for ticks at every turn of its loop, so interrupts arrive without a thread. Inside a handler, ticks read the
edge's own time, as on hardware, where the interrupt runs at the edge. With words of 32 bits ticks begin anew after 2**30, as there.
"""

import utime
from utime import *  # noqa: F403 - the module stands in for the built-in one, whatever that offers

_edge_us = None
_deliver = None
# The greatest number that ticks reach.
_MASK = utime.ticks_add(0, -1)


def at_edge(time_us):
    """Let ticks read this time until it is set back to None."""
    global _edge_us
    _edge_us = time_us


def on_ticks(deliver):
    """Call `deliver` before every reading of the ticks (the sim's interrupt controller)."""
    global _deliver
    _deliver = deliver


def ticks_us():
    """Microseconds; inside an interrupt handler those of its edge."""
    if _edge_us is None and _deliver is not None:
        _deliver()
    return utime.ticks_us() if _edge_us is None else _edge_us & _MASK


def ticks_ms():
    """Milliseconds; inside an interrupt handler those of its edge."""
    if _edge_us is None and _deliver is not None:
        _deliver()
    return utime.ticks_ms() if _edge_us is None else _edge_us // 1000 & _MASK


def sleep_ms(ms):
    """Sleep, delivering interrupts meanwhile."""
    end = utime.ticks_add(utime.ticks_ms(), ms)
    while True:
        left = utime.ticks_diff(end, ticks_ms())
        if left <= 0:
            return
        utime.sleep_ms(min(left, 20))


def sleep(seconds):
    """Sleep, delivering interrupts meanwhile."""
    sleep_ms(int(seconds * 1000))
