"""The way to the gateway, Wi-Fi, Ethernet or a serial wire; only the chosen one is loaded.

A link has

- `datagrams`: `await receive()` -> (bytes, address), `send(data, address)`;
- `gateway_address()`: the gateway as `datagrams` names it; may raise OSError while its name is unknown;
- `await wait_connected()`, `connected()`: whether datagrams can go out;
- `rssi()`: signal strength in dBm, None where there is no radio;
- `run()`: coroutine that keeps the link up for ever.
"""


def open_link(settings):
    """Open the link that the configuration names."""
    if settings.link == "serial":
        from andon_node.net.serial_link import SerialLink

        return SerialLink(settings.uart, settings.baud, settings.tx, settings.rx)
    if settings.link == "lan":
        from andon_node.net.lan import LanLink

        return LanLink(settings)
    from andon_node.net.wifi import WifiLink

    return WifiLink(settings)
