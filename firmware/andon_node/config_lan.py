"""The `lan` section: loaded only where the link is Ethernet."""


def load(section):
    """Return (address, mask, gateway, name server), or None for DHCP."""
    address = _address(section, "address", None)
    static = None
    if address is not None:
        mask = _address(section, "mask", "255.255.255.0")
        # A node needs neither as long as its gateway is in its own network.
        static = (address, mask, _address(section, "gateway", address), _address(section, "dns", address))
    section.close()
    return static


def _address(section, key, default):
    text = section.optional_text(key)
    if text is None:
        return default
    parts = text.split(".")
    if len(parts) != 4 or not all(part.isdigit() and len(part) <= 3 and int(part) < 256 for part in parts):
        section.fail(key, "an IPv4 address such as 10.0.0.7, or null")
    return text
