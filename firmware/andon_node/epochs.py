"""When earlier boots were, for packs that outlived them.

A pack knows its boot and its monotonic time in that boot. One line per boot is kept on flash:

    12 epoch 1764000000000      the epoch at the start of boot 12
    13 lasted 93000             boot 13 never learnt the epoch; its newest pack is of 93000 ms after its start
"""

from micropython import const

from andon_node import flash

_KEPT = const(64)
# A step that matters; the drift of a crystal within an hour does not.
_STEP_MS = const(1000)
_DAY_MS = const(86400000)


class Epochs:
    """Dates packs.

    Args:
        path: The file.
        boot: Number of this start.
        journal: Knows boot and time of the newest pack of an earlier start.
        clock: Knows this start's epoch, perhaps later.
    """

    def __init__(self, path, boot, journal, clock):
        self._path = path
        self._boot = boot
        self._clock = clock
        self._kept_epoch = None
        # The earlier boot asked for last, its epoch, and its start before this one's, whichever is known.
        self._last = (0, None, None)
        earlier = journal.last_boot
        if 0 < earlier < boot and not any(line[0] == earlier for line in self._lines()):
            self._keep(earlier, "lasted", journal.last_ms)
        clock.on_epoch = self._learnt

    def _lines(self):
        lines = []
        try:
            with open(self._path) as file:
                for line in file:
                    boot, kind, ms = line.split()
                    if kind in ("epoch", "lasted"):
                        lines.append((int(boot), kind, int(ms)))
        except (OSError, ValueError, UnicodeError):
            # What is lost here only makes times less exact, and they are flagged.
            pass
        return lines

    def _keep(self, boot, kind, ms):
        lines = [line for line in self._lines() if line[0] != boot]
        lines.append((boot, kind, ms))
        try:
            flash.write_atomically(self._path, "".join("%d %s %d\n" % line for line in lines[-_KEPT:]))
        except OSError as error:
            print("epochs: not on flash:", error)

    def _learnt(self, epoch_ms):
        if self._kept_epoch is None or abs(epoch_ms - self._kept_epoch) > _STEP_MS:
            self._kept_epoch = epoch_ms
            self._keep(self._boot, "epoch", epoch_ms)

    def base_time_ms(self, boot, taken_ms):
        """Return the SenML base time of a pack in milliseconds, and whether it is exact.

        Where a boot never learnt the epoch, the next one is taken to have started when it ended: such times are in
        order and late by as long as the power was off.
        """
        if boot == self._boot:
            return self._clock.base_time_ms(taken_ms), True
        if boot != self._last[0]:
            epoch_ms, before_ms = self._start(boot)
            self._last = (boot, epoch_ms, before_ms)
        _, epoch_ms, before_ms = self._last
        if epoch_ms is not None:
            return epoch_ms + taken_ms, before_ms is None
        return self._clock.base_time_ms(taken_ms - before_ms), False

    def _start(self, boot):
        """Return the epoch at the start of a boot, and None or how long before a later boot's start it was estimated."""
        before_ms = 0
        at = boot
        for number, kind, ms in sorted(line for line in self._lines() if boot <= line[0] < self._boot):
            before_ms += _gap_ms(boot, at, number)
            if kind == "epoch":
                return (ms - before_ms, before_ms or None)
            before_ms += ms + 1
            at = number + 1
        before_ms += _gap_ms(boot, at, self._boot)
        epoch_ms = self._clock.epoch_ms(0)
        return (None if epoch_ms is None else epoch_ms - before_ms, before_ms)


def _gap_ms(boot, at, number):
    """How long the boots from `at` until before `number`, of which nothing is known, may have taken: enough to stay in order.

    Numbers may jump by millions (a board that was provisioned anew), which were never starts.
    """
    if at >= number:
        return 0
    return min(number - at, _KEPT) + (_DAY_MS if at == boot else 0)
