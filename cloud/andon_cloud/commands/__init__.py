"""Relay commands: from an operator's wish to the contact, and the proof that it happened."""
