"""Links: Wi-Fi, Ethernet, a serial wire."""
