"""Telemetry packs: SenML (RFC 8428) in CBOR and JSON, decoded under strict limits."""
