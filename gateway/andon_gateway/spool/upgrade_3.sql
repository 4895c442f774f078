-- Schema 2 to 3: quota, quarantine, aggregates, dead letters sent again.

-- 1: may replace a point of an earlier row, so it must not overtake one.
ALTER TABLE spool ADD COLUMN replaces INTEGER NOT NULL DEFAULT 0;
-- Nobody noted what the waiting rows replace.
UPDATE spool SET replaces = 1;

-- Packs of nodes that the cloud has not mounted anywhere; moved into the spool when it does.
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    node TEXT NOT NULL,
    boot INTEGER NOT NULL,
    arrival_ms INTEGER NOT NULL,
    readings TEXT NOT NULL,
    replaces INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX quarantine_node ON quarantine (node, id);

-- Numbers that must survive a restart: spool_bytes, dropped_packs, ... (spool.py).
CREATE TABLE tally (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Windows of aggregates (windows.py); kept for late readings after they were given out.
CREATE TABLE aggregate_window (
    node TEXT NOT NULL,
    name TEXT NOT NULL,
    window_ms INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    count INTEGER NOT NULL,
    least REAL NOT NULL,
    most REAL NOT NULL,
    partials TEXT NOT NULL,                -- JSON: floats whose exact sum is the sum of the values
    last_ms INTEGER NOT NULL,
    last REAL NOT NULL,
    emitted INTEGER NOT NULL,
    PRIMARY KEY (node, name, window_ms, start_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX aggregate_open ON aggregate_window (node) WHERE emitted = 0;

-- Newest sample time of a node's aggregated readings: closes windows, and bounds how late a reading may be.
CREATE TABLE aggregate_clock (
    node TEXT PRIMARY KEY,
    newest_ms INTEGER NOT NULL,
    pruned_ms INTEGER NOT NULL             -- windows that start before this are forgotten
) STRICT, WITHOUT ROWID;

-- Dead letters that a person wants to be sent again.
CREATE TABLE resend (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    line TEXT NOT NULL
) STRICT;

INSERT INTO tally SELECT 'spool_bytes', total(length(CAST(readings AS BLOB)) + 64) FROM spool;
INSERT INTO tally SELECT 'assets_received', 1 WHERE EXISTS (SELECT 1 FROM asset);
