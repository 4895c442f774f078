"""Log lines as `time level logger message`, with key=value pairs in the messages."""

from __future__ import annotations

import logging
import sys
import time


class _Formatter(logging.Formatter):
    converter = staticmethod(time.gmtime)
    default_msec_format = "%s.%03dZ"
    default_time_format = "%Y-%m-%dT%H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        """One event is one line, whatever a peer put into it; tracebacks follow indented."""
        first, *rest = super().format(record).splitlines()
        return "\n    ".join([first, *rest])


def configure(level: str) -> None:
    """Log to stderr; stdout is for the `ready` line.

    Args:
        level: debug, info, warning or error.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("time=%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    chosen = logging.getLogger().level
    for noisy in ("httpx", "httpcore", "urllib3", "uvicorn"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, chosen))
    # aiocoap warns of each datagram that it cannot read: whoever sends them must not fill the disk. The metrics count them.
    for flooding in ("coap-server", "coap"):
        logging.getLogger(flooding).setLevel(max(logging.ERROR, chosen))
