"""Wired nodes: slipmux over serial lines."""
