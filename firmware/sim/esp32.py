"""`esp32` on the unix port: the pulse counter unit (PCNT), counting edges of the register file."""

import interrupts
import machine
import sim_parts

if machine.family != "esp32":
    raise ImportError("no module named 'esp32'")


def __getattr__(name):
    if name != "Partition":
        raise ImportError("can't import name " + name)
    return sim_parts.load("sim_rom").Partition


class PCNT:
    """One pulse counter unit, one channel; counts 0..max and starts again at 0, like the 16-bit hardware."""

    IGNORE = 0
    INCREMENT = 1
    DECREMENT = 2
    NORMAL = 0

    def __init__(self, id, **options):  # noqa: A002 - MicroPython's signature
        if not 0 <= id < 8:
            raise ValueError("invalid unit")
        self._source = None
        self._count = 0
        self._max = 32767
        self._min = -32768
        self._rising = PCNT.IGNORE
        self._falling = PCNT.IGNORE
        self._running = True
        self.init(**options)

    def init(self, *, channel=0, pin=None, rising=None, falling=None, filter=None, min=None, max=None, value=None):  # noqa: A002, ARG002 - MicroPython's signature
        """(Re-)configure what is given."""
        if rising is not None or falling is not None:
            self._rising = rising or PCNT.IGNORE
            self._falling = falling or PCNT.IGNORE
        if max is not None:
            self._max = max or 32767
            self._count = 0
        if min is not None:
            self._min = min or -32768
            self._count = 0
        if value == 0:
            self._count = 0
        if pin is not None:
            self.deinit()
            self._source = interrupts.EdgeSource(pin.gpio, self._on_edge)
            interrupts.connect(self._source)

    def deinit(self):
        """Release the pin."""
        if self._source is not None:
            interrupts.disconnect(self._source)
            self._source = None

    def start(self):
        """Go on counting."""
        self._running = True

    def stop(self):
        """Pause."""
        self._running = False

    def _on_edge(self, _time_us, level):
        action = self._rising if level else self._falling
        if action == PCNT.IGNORE or not self._running:
            return
        self._count += 1 if action == PCNT.INCREMENT else -1
        if self._count >= self._max or self._count <= self._min:
            self._count = 0

    def value(self, value=None):
        """The counter register; `value(0)` resets it."""
        interrupts.deliver()
        count = self._count
        if value is not None:
            if value != 0:
                raise ValueError("value must be 0")
            self._count = 0
        return count
