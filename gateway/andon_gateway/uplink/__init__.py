"""From the spool to the store: line protocol, batches, and what to send next after an outage."""
