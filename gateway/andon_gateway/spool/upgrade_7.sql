-- Schema 6 to 7: the configurations that the cloud has ordered (configurations/orders.py), in the shape of firmware_update.
CREATE TABLE configuration (
    id TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    revision INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,
    signature TEXT,
    expires_ms INTEGER NOT NULL,
    document BLOB,                                 -- null: not fetched yet
    state TEXT NOT NULL,                           -- sent, trial; confirmed, refused, rolled-back, failed are final
    before TEXT,                                   -- JSON: what the node said of itself before it was told; null: it was not yet
    told INTEGER NOT NULL DEFAULT 0                -- 1: the node has accepted it
) STRICT;

-- What the cloud is to hear about them; a row stays pending until the cloud has taken it.
CREATE TABLE configuration_report (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    state TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    detail TEXT NOT NULL,
    pending INTEGER NOT NULL DEFAULT 1,
    UNIQUE (job, state)
) STRICT;
CREATE INDEX configuration_report_pending ON configuration_report (id) WHERE pending;
