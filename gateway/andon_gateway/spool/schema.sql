-- The gateway's durable state, as of schema 1; upgrade_*.sql make the rest, for new files as well. PRAGMA user_version carries the
-- schema's version (database.py).

-- Packs waiting for the uplink, in the order of their arrival.
CREATE TABLE spool (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- AUTOINCREMENT: an id is never used again, so the uplink may remember them
    node TEXT NOT NULL,
    boot INTEGER NOT NULL,
    arrival_ms INTEGER NOT NULL,
    readings TEXT NOT NULL                 -- JSON: [[name, time_ms, value], ...], cycles already as monotonic totals
) STRICT;

-- Packs ever taken: sequence numbers per boot as ranges, "0-41 43-50".
CREATE TABLE identity (
    node TEXT NOT NULL,
    boot INTEGER NOT NULL,
    seen TEXT NOT NULL,
    PRIMARY KEY (node, boot)
) STRICT, WITHOUT ROWID;

-- Boots up to this one are too old to be told apart; their packs count as duplicates.
CREATE TABLE identity_floor (
    node TEXT PRIMARY KEY,
    boot INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Monotonic cycle totals (cycles.py).
CREATE TABLE cycle_total (
    node TEXT NOT NULL,
    name TEXT NOT NULL,
    highest TEXT NOT NULL,                 -- JSON: {boot: highest raw count}
    settled INTEGER NOT NULL,
    settled_boot INTEGER NOT NULL,
    newest_ms INTEGER NOT NULL,
    newest_total INTEGER NOT NULL,
    PRIMARY KEY (node, name)
) STRICT, WITHOUT ROWID;

-- Lines that the cloud will never take, with its reason.
CREATE TABLE dead_letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    line TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;

-- Last known address of each node.
CREATE TABLE node (
    node TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    lifetime_s INTEGER,                    -- null until the node registers at /rd
    seen_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Where each node is mounted, as the cloud last said.
CREATE TABLE asset (
    node TEXT PRIMARY KEY,
    site TEXT NOT NULL,
    area TEXT NOT NULL,
    line TEXT NOT NULL,
    machine TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Relay commands of the cloud. result is null while the command still has to be executed.
CREATE TABLE command (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    node TEXT NOT NULL,
    relay INTEGER NOT NULL,
    state INTEGER NOT NULL,
    lease_s INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    result TEXT CHECK (result IN ('acknowledged', 'expired', 'failed')),
    finished_ms INTEGER
) STRICT;
CREATE INDEX command_open ON command (node, position) WHERE result IS NULL;

-- What the cloud is to hear about its commands. pending: how often it was wanted since the cloud took it last.
CREATE TABLE command_report (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    command TEXT NOT NULL,
    state TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    contact INTEGER,
    detail TEXT NOT NULL,
    pending INTEGER NOT NULL DEFAULT 1,
    UNIQUE (command, state)
) STRICT;
CREATE INDEX command_report_pending ON command_report (id) WHERE pending;
