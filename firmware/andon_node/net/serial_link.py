"""CoAP over a UART to the gateway (slipmux): one peer at the other end of the wire."""

import asyncio

from micropython import const

from andon_base import chip
from andon_node.net import slipmux

# A CoAP message of at most 1,024 bytes of payload and its header [RFC 7252 4.6: 1152].
MAX_DATAGRAM = 1152

GATEWAY = "serial"
# A frame of 1,152 bytes must fit while the node is busy for a moment, at 115,200 baud a tenth of a second.
_RX_BUFFER = const(2048)
_POLL_MS = const(5)


class SerialDatagrams:
    """Frames on a UART, with the interface of a datagram socket."""

    def __init__(self, uart):
        self._uart = uart
        self._decoder = slipmux.Decoder(MAX_DATAGRAM)
        self._chunk = bytearray(64)
        self._at = self._end = 0

    async def receive(self):
        """Wait for a CoAP message and return (bytes, address)."""
        while True:
            while self._at < self._end:
                message = self._decoder.feed(self._chunk[self._at])
                self._at += 1
                if message is not None:
                    return message, GATEWAY
            waiting = self._uart.any()
            if waiting:
                self._at = 0
                size = min(waiting, len(self._chunk))
                self._end = self._uart.readinto(self._chunk, size) or 0
            else:
                await asyncio.sleep_ms(_POLL_MS)

    def send(self, data, _address):
        """Send a message; one that the UART does not take now is lost, as any datagram may be."""
        frame = slipmux.encode(slipmux.COAP, data)
        written = self._uart.write(frame)
        if written != len(frame):
            # The rest would be taken for the start of the next frame's content; its leading END ends this one.
            print("serial: not sent: the line takes no more")


class SerialLink:
    """A wire: always there; whether somebody listens shows in the answers."""

    def __init__(self, uart, baud, tx, rx):
        # The send buffer holds a whole frame with every byte escaped, so that sending does not block the relays.
        port = chip.uart(uart, baud, tx, rx, rxbuf=_RX_BUFFER, txbuf=2 * MAX_DATAGRAM + 8)
        self.datagrams = SerialDatagrams(port)

    def gateway_address(self):
        """The other end."""
        return GATEWAY

    def connected(self):
        """A wire cannot tell."""
        return True

    async def wait_connected(self):
        """Return at once."""

    def rssi(self):
        """No radio: None."""

    async def run(self):
        """There is nothing to keep up."""
        await asyncio.Event().wait()
