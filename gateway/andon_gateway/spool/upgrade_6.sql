-- Schema 5 to 6: what each node runs, and the updates of its firmware that the cloud has ordered (updates.py).
ALTER TABLE node ADD COLUMN version TEXT;          -- firmware, as the node said when it registered; null: it did not say
ALTER TABLE node ADD COLUMN revision INTEGER;      -- of its configuration

CREATE TABLE firmware_update (
    id TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    version TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    state TEXT NOT NULL,                           -- sent, fetching, trial; confirmed, failed, rolled-back are final
    before TEXT,                                   -- how the node's update before this one ended; null: it was not told yet
    told INTEGER NOT NULL DEFAULT 0                -- 1: the node has accepted it
) STRICT, WITHOUT ROWID;

-- What the cloud is to hear about them; a row stays pending until the cloud has taken it.
CREATE TABLE firmware_update_report (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    state TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    detail TEXT NOT NULL,
    pending INTEGER NOT NULL DEFAULT 1,
    UNIQUE (job, state)
) STRICT;
CREATE INDEX firmware_update_report_pending ON firmware_update_report (id) WHERE pending;
