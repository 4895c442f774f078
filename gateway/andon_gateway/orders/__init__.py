"""What updates and configurations share: an order of the cloud on disk, carried out at a node, followed to the node's own verdict."""
