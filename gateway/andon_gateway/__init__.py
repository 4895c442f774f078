"""Andon gateway: CoAP nodes in, InfluxDB line protocol out, commands down."""
