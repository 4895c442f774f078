"""Modules that are needed for a moment only."""

import sys


def forget(*beginnings, but=""):
    """Give back the memory of the modules whose names begin so, but for one; who needs one again imports it again."""
    for name in list(sys.modules):
        if name.startswith(beginnings) and name != but:
            del sys.modules[name]
            parent, _, module = name.rpartition(".")
            package = sys.modules.get(parent)
            if package is not None and hasattr(package, module):
                delattr(package, module)
