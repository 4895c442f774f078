"""The physical side: simulated machines, their contacts, heat and faults, and the ledger of what really happened."""
