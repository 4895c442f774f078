"""How long the end-to-end tests wait for a condition before they call it a failure; generous, since CI machines are slow."""

START_LIMIT_S = 120.0
DRAIN_LIMIT_S = 120.0
