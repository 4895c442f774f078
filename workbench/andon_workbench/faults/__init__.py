"""Faults of the network between nodes and gateway, under a seed."""
