"""The durable middle: each pack is written once, and stays until the store has it."""
