"""Ethernet supervision: brings the interface up and keeps its address, never reboots a node that still measures."""

import asyncio

import network

from andon_base import chip
from andon_node.net import udp

_POLL_MS = 500
_RETRY_MS = 5000


class LanLink:
    """Ethernet and UDP as a link (net/link.py)."""

    def __init__(self, settings):
        # MicroPython takes 32 bytes, a node id may have 63; only the network's own lists show it.
        network.hostname(settings.node[:32])
        self.nic = chip.lan()
        self._on = False
        # (address, mask, gateway, name server), None: by DHCP.
        self._static = settings.lan
        self._gateway = (settings.gateway_host, settings.gateway_port)
        self.datagrams = udp.DatagramSocket(settings.coap_port)

    def connected(self):
        """Whether the cable is plugged in and there is an address."""
        return self.nic.isconnected()

    def rssi(self):
        """No radio: None."""

    def gateway_address(self):
        """Ask for the gateway's address.

        Raises:
            OSError: The name is unknown.
        """
        return udp.address_of(*self._gateway)

    async def wait_connected(self):
        """Return as soon as there is a connection."""
        while not self.nic.isconnected():
            await asyncio.sleep_ms(_POLL_MS)

    async def run(self):
        """Keep the interface up."""
        was_connected = False
        while True:
            try:
                self.bring_up()
            except OSError as error:
                print("lan:", error)
                await asyncio.sleep_ms(_RETRY_MS)
            connected = self.nic.isconnected()
            if connected != was_connected:
                was_connected = connected
                print("lan: address %s" % self.nic.ifconfig()[0] if connected else "lan: connection lost")
            await asyncio.sleep_ms(_POLL_MS)

    def bring_up(self):
        """Switch the interface on once there is a cable, and give it its address.

        Raises:
            OSError: The interface does not answer.
        """
        if not self._on:
            self._on = chip.start_lan(self.nic)
            if not self._on:
                return
            if self._static is None and hasattr(self.nic, "ipconfig"):
                # Does not wait for an answer, as `ifconfig("dhcp")` would.
                self.nic.ipconfig(dhcp4=True)
        if self._static is not None and self.nic.ifconfig()[0] != self._static[0]:
            self.nic.ifconfig(self._static)
