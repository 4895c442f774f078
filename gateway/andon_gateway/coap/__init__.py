"""CoAP (RFC 7252) on the site's network: one socket, the fast path for telemetry, aiocoap for everything else."""
