"""SenML-CBOR (RFC 8428 section 6): the records of a pack as docs/protocol.md has them."""

from micropython import const

from andon_node.cbor import BufferFullError, Writer, put_wide_integer

CONTENT_FORMAT = 112
# A pack has at most 1,024 bytes and 64 records (docs/protocol.md); one record's room is kept for the flag of a pack whose
# time had to be estimated.
MAX_BYTES = 1000
MAX_RECORDS = 63

# Labels, RFC 8428 table 4.
_BN = const(-2)
_BT = const(-3)
_N = const(0)
_U = const(1)
_V = const(2)
_VS = const(3)
_VB = const(4)
_T = const(6)

# A decimal fraction is tag 4, an array of exponent and mantissa (RFC 8949 3.4.4); milliseconds have the exponent -3.
_DECIMAL_FRACTION = const(4)
_MILLI = const(-3)


class PackWriter:
    """Writes one SenML array; times are integer milliseconds, since a board's float cannot hold an epoch."""

    def __init__(self, base_name, size=MAX_BYTES):
        self._base_name = base_name
        self._cbor = Writer(size)
        self.records = 0
        self.base_time_at = 0

    def begin(self):
        """Start an empty array. Its length is patched in at the end: 0x98 and one byte."""
        self._cbor.length = 2
        self.records = 0

    def _count(self):
        if self.records == MAX_RECORDS:
            raise BufferFullError
        self.records += 1

    def _time(self, ms):
        cbor = self._cbor
        cbor.tag(_DECIMAL_FRACTION)
        cbor.array(2)
        cbor.integer(_MILLI)
        cbor.integer(ms)

    def base(self, name, value, base_time_ms):
        """Write the first record: base name, base time and one value."""
        self._count()
        cbor = self._cbor
        cbor.map(4 if value is not None else 2)
        cbor.integer(_BN)
        cbor.text(self._base_name)
        cbor.integer(_BT)
        cbor.tag(_DECIMAL_FRACTION)
        cbor.array(2)
        cbor.integer(_MILLI)
        self.base_time_at = cbor.length
        cbor.wide_integer(base_time_ms)
        if value is not None:
            cbor.integer(_N)
            cbor.text(name)
            cbor.integer(_V)
            cbor.integer(value)

    def record(self, name, unit, value, time_ms):
        """Write one record, or nothing at all.

        Args:
            name: Name after the base name.
            unit: Unit of RFC 8428 section 12.1, or None.
            value: bool, int, float or str.
            time_ms: Time relative to the base time.

        Raises:
            BufferFullError: It does not fit; the array is as before.
        """
        mark = self._cbor.length
        count = self.records
        try:
            self._count()
            self._put(name, unit, value, time_ms)
        except BufferFullError:
            self._cbor.length = mark
            self.records = count
            raise

    def _put(self, name, unit, value, time_ms):
        cbor = self._cbor
        cbor.map(2 + (unit is not None) + (time_ms != 0))
        cbor.integer(_N)
        cbor.text(name)
        if unit is not None:
            cbor.integer(_U)
            cbor.text(unit)
        if value is True or value is False:
            cbor.integer(_VB)
            cbor.boolean(value)
        elif isinstance(value, str):
            cbor.integer(_VS)
            cbor.text(value)
        else:
            cbor.integer(_V)
            if isinstance(value, float):
                cbor.number(value)
            else:
                cbor.integer(value)
        if time_ms != 0:
            cbor.integer(_T)
            self._time(time_ms)

    def length(self):
        """Bytes so far."""
        return self._cbor.length

    def part(self, start):
        """Return a copy of the bytes since a length."""
        return bytes(memoryview(self._cbor.buffer)[start : self._cbor.length])

    def finish(self):
        """Return a copy of the finished array."""
        buffer = self._cbor.buffer
        buffer[0] = 0x98
        buffer[1] = self.records
        return bytearray(memoryview(buffer)[: self._cbor.length])


def set_base_time(pack, at, base_time_ms):
    """Replace the base time in a finished array; `at` is its writer's `base_time_at`."""
    put_wide_integer(pack, at, base_time_ms)
