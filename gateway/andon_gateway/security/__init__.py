"""Who speaks: OSCORE (RFC 8613), the nodes' keys, and who may speak for which node."""
