"""Readings become packs: SenML arrays with the identity (node, boot, seq)."""

from micropython import const

from andon_node.cbor import BufferFullError
from andon_node.senml import PackWriter, set_base_time

# One in flight and one to follow it.
_ENOUGH_WAITING = const(2)

# One SenML record {n: "node/clock", vs: "estimated"}; PackWriter leaves room for it.
_ESTIMATED = const(b"\xa2\x00\x6anode/clock\x03\x69estimated")


class Pack:
    """A pack; its base time is set when it is sent, since the epoch may be learnt only after it was taken.

    Attributes:
        ordinal: Its place in the outbox, given by it.
        data: The finished SenML array, None while it is being collected.
    """

    def __init__(self, boot, seq, data, taken_ms, base_time_at):
        self.ordinal = None
        self.boot = boot
        self.seq = seq
        self.data = data
        self.taken_ms = taken_ms
        self.base_time_at = base_time_at
        self._flagged = False

    def stamp(self, dating):
        """Set the base time by what is known now."""
        base_time_ms, exact = dating.base_time_ms(self.boot, self.taken_ms)
        set_base_time(self.data, self.base_time_at, base_time_ms)
        if not exact and not self._flagged:
            self._flagged = True
            self.data[1] += 1
            self.data.extend(_ESTIMATED)


class Recorder:
    """Collects readings into the current pack, makes them durable and puts finished packs into the outbox.

    Args:
        node: Node id.
        boot: Number of this start.
        clock: Monotonic time.
        outbox: Where packs go.
        together: Number of samples that wait in RAM for each other, before they are written to the flash in one.
    """

    def __init__(self, node, boot, clock, outbox, together=1):
        self._writer = PackWriter(node + "/")
        self._boot = boot
        self._clock = clock
        self._outbox = outbox
        self._together = together
        self._samples = 0
        self._seq = 0
        self._pack = None
        # Bytes and records of the current pack that are durable.
        self._saved = 0
        self._saved_records = 0

    def record(self, name, unit, value):
        """Add a reading taken now."""
        now = self._clock.monotonic_ms()
        pack = self._pack or self._begin(now)
        try:
            self._writer.record(name, unit, value, now - pack.taken_ms)
        except BufferFullError:
            self._save(pack)
            self._close(pack)
            self._begin(now)
            self._writer.record(name, unit, value, 0)

    def _begin(self, now):
        self._writer.begin()
        self._saved = self._writer.length()
        self._saved_records = 0
        self._writer.base("boot", self._boot, 0)
        self._writer.record("seq", None, self._seq, 0)
        self._pack = Pack(self._boot, self._seq, None, now, self._writer.base_time_at)
        return self._pack

    def flush_due(self):
        """After a sample: the same as `flush`, once enough samples are together."""
        self._samples += 1
        if self._samples >= self._together:
            self._samples = 0
            self.flush()

    def flush(self):
        """Make what was recorded durable and send it as soon as possible.

        While packs wait, the current one goes on growing, part by part: fewer and fuller packs keep up on a lossy link.
        """
        pack = self._pack
        if pack is None:
            return
        self._save(pack)
        if len(self._outbox) < _ENOUGH_WAITING:
            self._close(pack)

    def _save(self, pack):
        length = self._writer.length()
        if length > self._saved:
            part = self._writer.part(self._saved)
            span_ms = self._clock.monotonic_ms() - pack.taken_ms
            self._outbox.save(pack, part, self._writer.records - self._saved_records, span_ms)
            self._saved = length
            self._saved_records = self._writer.records

    def _close(self, pack):
        pack.data = self._writer.finish()
        self._outbox.append(pack)
        self._pack = None
        self._seq += 1
