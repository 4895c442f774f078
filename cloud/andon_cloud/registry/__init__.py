"""What exists in the factory: machines, the nodes on them and the gateways that serve the nodes."""
