"""Commands down: a durable queue, and the relay that takes each to its node."""
