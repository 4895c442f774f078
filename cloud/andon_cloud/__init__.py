"""Andon cloud: telemetry store, registry, relay commands and the live console."""
