"""Wi-Fi supervision: (re)connects for ever, never reboots a node that still measures."""

import asyncio
import random

import network
from micropython import const

from andon_node.net import udp

_POLL_MS = const(500)
# One attempt may take this long before it is started anew.
_ATTEMPT_MS = const(15000)
_BACKOFF_MIN_MS = const(1000)
_BACKOFF_MAX_MS = const(60000)


class WifiLink:
    """Wi-Fi and UDP as a link (net/link.py)."""

    def __init__(self, settings):
        # MicroPython takes 32 bytes, a node id may have 63; only the network's own lists show it.
        network.hostname(settings.node[:32])
        self._ssid = settings.ssid
        self._password = settings.password
        self._gateway = (settings.gateway_host, settings.gateway_port)
        self.datagrams = udp.DatagramSocket(settings.coap_port)
        self._wlan = network.WLAN(network.WLAN.IF_STA)

    def connected(self):
        """Whether datagrams can go out."""
        return self._wlan.isconnected()

    def rssi(self):
        """Signal strength in dBm, 0 while there is none."""
        if not self._wlan.isconnected():
            return 0
        return self._wlan.status("rssi")

    def gateway_address(self):
        """Ask for the gateway's address.

        Raises:
            OSError: The name is unknown.
        """
        return udp.address_of(*self._gateway)

    async def wait_connected(self):
        """Return as soon as there is a connection."""
        while not self._wlan.isconnected():
            await asyncio.sleep_ms(_POLL_MS)

    async def run(self):
        """Keep the connection up."""
        backoff = _BACKOFF_MIN_MS
        while True:
            if await self._attempt():
                backoff = _BACKOFF_MIN_MS
                while self._wlan.isconnected():
                    await asyncio.sleep_ms(_POLL_MS)
                print("wifi: connection lost")
            else:
                # Jitter, so that a hall full of nodes does not storm the access point in step after a power failure.
                await asyncio.sleep_ms(backoff // 2 + random.randrange(backoff))
                backoff = min(2 * backoff, _BACKOFF_MAX_MS)

    async def _attempt(self):
        try:
            self._wlan.active(False)
            self._wlan.active(True)
            # Power save would hold commands back for up to a beacon interval or three.
            self._wlan.config(pm=network.WLAN.PM_NONE)
            self._wlan.connect(self._ssid, self._password)
        except OSError as error:
            print("wifi:", error)
            return False
        for _ in range(_ATTEMPT_MS // _POLL_MS):
            if self._wlan.isconnected():
                print("wifi: connected to", self._ssid)
                return True
            await asyncio.sleep_ms(_POLL_MS)
        print("wifi: no connection to %s, trying again" % self._ssid)
        return False
