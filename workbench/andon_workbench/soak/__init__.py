"""The soak: a factory through simulated hours of power cuts, outages and packet loss, on a fast clock."""
