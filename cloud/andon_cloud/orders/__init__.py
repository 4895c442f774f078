"""What commands, updates and configurations share: a row with a status, moved by reports, and its append-only log."""
