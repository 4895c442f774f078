-- Schema 8 to 9: what the readings of packed rows are called is written once for all packs of a form (forms.py).

CREATE TABLE form (
    id INTEGER PRIMARY KEY AUTOINCREMENT,          -- AUTOINCREMENT: an id never means another text
    text TEXT NOT NULL UNIQUE                      -- JSON of types and names: ["dq","temperature/0","cycles/0"]
) STRICT;

-- readings is then empty; where form is null it holds the text, as it did before.
ALTER TABLE spool ADD COLUMN form INTEGER;
ALTER TABLE quarantine ADD COLUMN form INTEGER;
