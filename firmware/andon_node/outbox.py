"""Packs that wait for the gateway's 2.04, oldest first: every one on flash, the newest in RAM as well.

Every pack has an ordinal, one more than the one before, over all boots. The outbox knows the oldest that waits; it moves on
when that is settled, and where it has to step over one that is lost, it counts it as dropped.
"""

import asyncio

from micropython import const

from andon_node.pack import Pack

# Not in MicroPython's errno.
_ENOSPC = const(28)
# Packs kept in RAM: what is sent as soon as it was taken is not read back from flash.
_IN_RAM = const(3)


class Outbox:
    """A queue in front of the journal.

    Attributes:
        dropped: Packs of this node that were lost before the gateway had them, over all boots: oldest first at the quota,
            or damaged on flash.
        failures: Writes that the flash did not take.
    """

    def __init__(self, journal):
        self._journal = journal
        self._head = journal.settled
        self._next = journal.next
        self._recent = []
        self._arrived = asyncio.Event()
        self._in_flight = None
        # Number of the current pack's next part.
        self._part = 0
        self.dropped = journal.dropped
        self.failures = 0

    def __len__(self):
        return self._next - self._head

    def save(self, pack, part, count, span_ms=0):
        """Make a part of a pack durable that is still being collected.

        Args:
            pack: Without data yet.
            part: The bytes of its SenML array since the last part.
            count: The number of SenML records in them.
            span_ms: Time from the pack's first reading to now.
        """
        if pack.ordinal is None:
            pack.ordinal = self._next
            self._part = 0
            self._step_to(self._journal.floor(len(part)))
        try:
            self._write(pack, part, count, span_ms)
        except OSError as error:
            # The pack still goes out from RAM; only a power cut or a long outage loses it now.
            self.failures += 1
            print("outbox: not on flash:", error)
        self._part += 1

    def _write(self, pack, part, count, span_ms):
        while True:
            try:
                self._journal.write(pack, self._part, self._head, self.dropped, part, count, span_ms)
            except OSError as error:
                # Less room than the quota allows: the oldest go earlier. Any other fault may pass; nothing is given up.
                first = self._journal.remove_oldest() if error.errno == _ENOSPC else None
                if first is None:
                    raise
                self._step_to(first)
            else:
                return

    def _step_to(self, ordinal):
        if ordinal > self._head:
            self.dropped += ordinal - self._head
            self._head = ordinal
            while self._recent and self._recent[0].ordinal < ordinal:
                self._recent.pop(0)

    def append(self, pack):
        """Queue a finished pack."""
        if pack.ordinal is None:
            pack.ordinal = self._next
        self._next = pack.ordinal + 1
        self._recent.append(pack)
        if len(self._recent) > _IN_RAM:
            self._recent.pop(0)
        self._arrived.set()

    async def oldest(self):
        """Wait for a pack and return the oldest, which stays queued until `settle`."""
        while True:
            if self._in_flight is not None:
                # Also when the quota has dropped it meanwhile: it may already be durable at the gateway.
                return self._in_flight
            if self._head < self._next:
                self._in_flight = self._load()
            else:
                self._arrived.clear()
                await self._arrived.wait()

    def _load(self):
        """Return the pack at the head, or move the head on over what is lost."""
        in_ram = self._recent[0].ordinal if self._recent else self._next
        if in_ram > self._head:
            found = self._journal.read(self._head)
            # The newest on flash may still be growing.
            if found is not None and found.ordinal < in_ram:
                self._step_to(found.ordinal)
                self.dropped += found.lost_parts
                pack = Pack(found.boot, found.seq, found.data, found.taken_ms, found.base_time_at)
                pack.ordinal = found.ordinal
                return pack
            self._step_to(in_ram)
        return self._recent[0] if self._recent else None

    def settle(self, pack):
        """The gateway answered for good: forget the pack."""
        self._in_flight = None
        if pack.ordinal == self._head:
            self._head += 1
            if self._recent and self._recent[0] is pack:
                self._recent.pop(0)
        elif pack.ordinal < self._head:
            # The quota had dropped it while it was under way.
            self.dropped -= 1
