-- Schema 1 to 2: keys of the nodes.

-- OSCORE keys of the nodes, and the bound below which our sender sequence numbers may have been used (oscore_keys.py).
CREATE TABLE oscore_key (
    node TEXT PRIMARY KEY,
    secret BLOB NOT NULL,
    salt BLOB NOT NULL,
    node_id BLOB NOT NULL UNIQUE,          -- the node's sender id: kid of its requests
    gateway_id BLOB NOT NULL,
    bound INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
