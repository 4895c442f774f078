"""`network` on the unix port: Wi-Fi or a cable that work when the register file says that the network is within reach."""

import registers

STA_IF = 0
AP_IF = 1
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010


class WLAN:
    """Station interface; the host's own network carries the datagrams."""

    IF_STA = 0
    IF_AP = 1
    PM_NONE = 0
    PM_PERFORMANCE = 1

    def __init__(self, interface_id=STA_IF):
        self._interface = interface_id
        self._active = False
        self._wanted = False

    def active(self, is_active=None):
        """Switch the radio on or off, or ask."""
        if is_active is not None:
            self._active = bool(is_active)
        return self._active

    def connect(self, ssid=None, key=None, *, bssid=None):  # noqa: ARG002 - MicroPython's signature
        """Start associating."""
        if not self._active:
            raise OSError("Wifi Not Started")
        self._wanted = True

    def disconnect(self):
        """Leave the network."""
        self._wanted = False

    def isconnected(self):
        """Whether there is an address."""
        return self._active and self._wanted and registers.wifi_reachable()

    def status(self, param=None):
        """State, or `status("rssi")` in dBm."""
        if param == "rssi":
            return registers.rssi()
        if self.isconnected():
            return STAT_GOT_IP
        return STAT_CONNECTING if self._wanted else STAT_IDLE

    def config(self, *_args, **_options):
        """Accept settings such as the host name; there is nothing to set."""

    def ifconfig(self):
        """Address, mask, gateway, DNS."""
        return ("127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1")


class LAN:
    """Ethernet interface; byte 8 of the register file is the cable. The host's own network carries the datagrams."""

    def __init__(self, *number, **_options):
        # The STM32's takes no number.
        self._stm32 = not number
        self._active = False
        self._dhcp = False
        self._config = ("0.0.0.0", "255.255.255.0", "192.168.0.1", "8.8.8.8")  # noqa: S104 - what lwIP calls no address

    def active(self, is_active=None):
        """Switch the interface on or off, or ask; an STM32 answers whether there is a link, on or off, and needs one."""
        if is_active is not None:
            if is_active and self._stm32 and not registers.wifi_reachable():
                raise OSError(110)
            self._active = bool(is_active)
        return registers.wifi_reachable() if self._stm32 else self._active

    def isconnected(self):
        """Whether the cable is in and there is an address."""
        return self._active and registers.wifi_reachable() and self.ifconfig()[0] != "0.0.0.0"  # noqa: S104 - see above

    def status(self):
        """0 down, 1 link of an interface that is off, 2 link without an address, 3 up."""
        if not registers.wifi_reachable():
            return 0
        if not self._active:
            return 1
        return 3 if self.isconnected() else 2

    def ifconfig(self, config=None):
        """Set or get address, mask, gateway, name server."""
        if config is not None:
            self._config = tuple(config)
            self._dhcp = False
        if self._dhcp and registers.wifi_reachable():
            return ("127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1")
        return self._config

    def ipconfig(self, param=None, *, dhcp4=None):
        """Switch DHCP on or off, or ask for `dhcp4`, `addr4`."""
        if dhcp4 is not None:
            self._dhcp = bool(dhcp4)
            return None
        return self._dhcp if param == "dhcp4" else self.ifconfig()[:2]

    def config(self, *_args, **_options):
        """Accept settings; there is nothing to set."""


def hostname(name=None):
    """Accept the host name, of at most 32 bytes as MicroPython has it (extmod/modnetwork.h)."""
    if name is not None and len(name) > 32:
        raise ValueError
    return name
