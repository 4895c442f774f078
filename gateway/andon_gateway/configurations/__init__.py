"""Configurations down: a document on disk, brought to its node in blocks, and the node's own verdict on it."""
