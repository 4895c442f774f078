"""The board's modules that are loaded when they are first asked for, also when the place that they come from is out of reach."""

import sys

# Where an image of the board's modules is mounted.
PLACE = "/sim"

# The image, kept by a board whose REPL must not see it among its files; else None.
hidden = None


def load(name):
    """Import a module of the board."""
    if hidden is None or name in sys.modules:
        return __import__(name)
    import vfs

    vfs.mount(hidden, PLACE)
    sys.path.insert(0, PLACE)
    try:
        return __import__(name)
    finally:
        sys.path.remove(PLACE)
        vfs.umount(PLACE)
