"""Firmware for the nodes: signed bundles, and the update of a node from the wish to what the node says in the end."""
