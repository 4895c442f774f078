"""Telemetry: the write endpoint, the store behind it and the queries on it."""
