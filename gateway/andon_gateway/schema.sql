-- The gateway's durable state. PRAGMA user_version carries the schema's version (database.py).

-- Packs waiting for the uplink, in the order of their arrival.
CREATE TABLE spool (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- AUTOINCREMENT: an id is never used again, so the uplink may remember them
    node TEXT NOT NULL,
    boot INTEGER NOT NULL,
    arrival_ms INTEGER NOT NULL,
    readings TEXT NOT NULL,                -- JSON: [[name, time_ms, value], ...], cycles already as monotonic totals
    replaces INTEGER NOT NULL DEFAULT 0    -- 1: may replace a point of an earlier row, so it must not overtake one
) STRICT;

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

-- Dead letters that a person wants to be sent again.
CREATE TABLE resend (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    line TEXT NOT NULL
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

-- OSCORE keys of the nodes, and the bound below which our sender sequence numbers may have been used (oscore_keys.py).
CREATE TABLE oscore_key (
    node TEXT PRIMARY KEY,
    secret BLOB NOT NULL,
    salt BLOB NOT NULL,
    node_id BLOB NOT NULL UNIQUE,          -- the node's sender id: kid of its requests
    gateway_id BLOB NOT NULL,
    bound INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The rule document in force, as the cloud sent it (rules/).
CREATE TABLE rule_document (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    etag TEXT NOT NULL,
    text TEXT NOT NULL                     -- JSON
) STRICT;

-- What each rule knows of each channel, as of the last pack that was taken (rules/evaluation.py).
CREATE TABLE rule_memory (
    rule TEXT NOT NULL,
    node TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,                  -- of the rule: with another one the memory is worth nothing
    memory TEXT NOT NULL,                  -- JSON
    PRIMARY KEY (rule, node, name)
) STRICT, WITHOUT ROWID;

-- Relay commands, of the cloud and of rules. result is null while the command still has to be executed.
CREATE TABLE command (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    node TEXT NOT NULL,
    relay INTEGER NOT NULL,
    state INTEGER NOT NULL,
    lease_s INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    result TEXT CHECK (result IN ('acknowledged', 'expired', 'failed')),
    finished_ms INTEGER,
    rule TEXT,                             -- null: the cloud's command
    reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX command_open ON command (node, position) WHERE result IS NULL;

-- What the cloud is to hear about its commands; a row stays pending until the cloud has taken it.
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
