"""The node table: registrations, liveness, quarantine, limits, clocks."""
