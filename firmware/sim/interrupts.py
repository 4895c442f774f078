"""The sim's interrupt controller: brings edges from the register file to `Pin.irq` handlers and pulse counters."""

import time

import registers

_sources = []
_delivering = False


class EdgeSource:
    """The edges of one pin from now on, given in order to `on_edge(time_us, level)`."""

    def __init__(self, gpio, on_edge):
        self.gpio = gpio
        self.on_edge = on_edge
        self.next = registers.edge_count(gpio)

    def deliver(self):
        """Hand out every edge published since the last call."""
        published = registers.edge_count(self.gpio)
        # More than a ring behind: the host stalled for long; what was overwritten is lost, as on a board that hangs.
        if (published - self.next) & 0xFFFFFFFF > registers.RING:
            self.next = (published - registers.RING) & 0xFFFFFFFF
        while self.next != published:
            edge = registers.edge(self.gpio, self.next)
            self.next = (self.next + 1) & 0xFFFFFFFF
            self.on_edge(edge >> 1, edge & 1)


def connect(source):
    """Start delivering to a source."""
    _sources.append(source)


def disconnect(source):
    """Stop delivering to a source."""
    if source in _sources:
        _sources.remove(source)


def deliver():
    """Deliver everything due; a handler that asks for ticks does not start another round."""
    global _delivering
    if _delivering:
        return
    _delivering = True
    try:
        for source in _sources:
            source.deliver()
    finally:
        _delivering = False


time.on_ticks(deliver)
