-- The embedded telemetry store, version 1 (PRAGMA user_version).

-- A measurement and its tag set; tags is a JSON object with sorted keys.
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    measurement TEXT NOT NULL,
    tags TEXT NOT NULL,
    UNIQUE (measurement, tags)
) STRICT;

-- A field has one type in its whole measurement, the one it was first written with.
CREATE TABLE field (
    id INTEGER PRIMARY KEY,
    measurement TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL CHECK (type IN ('float', 'integer', 'unsigned', 'boolean', 'string')),
    UNIQUE (measurement, name)
) STRICT;

-- WITHOUT ROWID: the key is the table, so a range of one series' field is one run of pages.
-- Booleans are 0 and 1.
CREATE TABLE point (
    series_id INTEGER NOT NULL REFERENCES series (id),
    field_id INTEGER NOT NULL REFERENCES field (id),
    time_ns INTEGER NOT NULL,
    value ANY NOT NULL,
    PRIMARY KEY (series_id, field_id, time_ns)
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 1;
