"""`network` on the unix port: a station that associates when the register file says Wi-Fi is within reach."""

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


def hostname(name=None):
    """Accept the host name."""
    return name
