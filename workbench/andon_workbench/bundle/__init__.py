"""Firmware bundles: compile, sign, look into. The format is in docs/protocol.md, "The bundle"."""
