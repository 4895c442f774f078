"""`andon node`: from a blank board to a measuring node, over the board's serial port (docs/nodes.md)."""
