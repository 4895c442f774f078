"""The gateways' channel: the cloud's events down to them, their reports back up."""
