"""Wi-Fi and UDP."""
