"""For all rooms."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let Ctrl-C be Ctrl-C for the programs under test, however the tests were started.

    A shell without job control has SIGINT ignored in what it starts in the background, all descendants inherit that, and
    programs that are asked to end by SIGINT never would. What has a handler here has the default in a program started from here.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
