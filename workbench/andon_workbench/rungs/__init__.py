"""The rungs of the ladder: boards that the same end-to-end tests run on, emulated wholly, partly or not at all (docs/boards.md)."""
