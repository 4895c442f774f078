-- Schema 6 to 7: packs of numbers are written as bytes (packed.py).

-- Times and values, little-endian; readings is then JSON of their types and names: ["dq","temperature/0","cycles/0"].
ALTER TABLE spool ADD COLUMN numbers BLOB;
ALTER TABLE quarantine ADD COLUMN numbers BLOB;
