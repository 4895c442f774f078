"""Andon workbench: the `andon` command, the world model and emulated boards."""
