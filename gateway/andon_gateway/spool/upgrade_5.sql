-- Schema 4 to 5: alarm rules at the edge.

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

-- Commands come from the cloud (rule is null) or from a rule.
ALTER TABLE command ADD COLUMN rule TEXT;
ALTER TABLE command ADD COLUMN reason TEXT NOT NULL DEFAULT '';
