-- Schema 3 to 4: what was taken is written once per group, and its tables when that has grown long.

-- Packs taken since identity and cycle_total were written (taken.py).
CREATE TABLE taken (
    id INTEGER PRIMARY KEY,
    packs TEXT NOT NULL                    -- JSON: [[node, boot, seq, [[name, raw count, time_ms], ...]], ...]
) STRICT;
