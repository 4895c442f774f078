"""Worker processes that receive telemetry beside the gateway's own, where one core is not enough.

The gateway stays the one owner of everything that there is once: replay windows, nodes, rates, the database, aiocoap. A worker reads one of
several sockets of the same port (SO_REUSEPORT), and does what needs no owner: CoAP, OSCORE's cryptography, SenML. So a worker that dies takes
nothing along.
"""
