"""The alarm rules that gateways evaluate: one document for the plant, in versions."""
