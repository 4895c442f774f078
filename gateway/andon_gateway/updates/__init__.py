"""Updates down: signed bundles, whose turn it is, and each node's own verdict."""
