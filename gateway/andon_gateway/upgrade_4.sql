-- Schema 3 to 4: alarm rules at the edge.
CREATE TABLE rule_document (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    etag TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE TABLE rule_memory (
    rule TEXT NOT NULL,
    node TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    memory TEXT NOT NULL,
    PRIMARY KEY (rule, node, name)
) STRICT, WITHOUT ROWID;
ALTER TABLE command ADD COLUMN rule TEXT;
ALTER TABLE command ADD COLUMN reason TEXT NOT NULL DEFAULT '';
