"""The metadata database: registry and commands, in SQLite by default and PostgreSQL by URL."""
