"""`python -m andon_gateway.workers UDP CHANNEL PARENT LEVEL GATHER_S`: started by the gateway only, with two open file descriptors."""

from __future__ import annotations

import asyncio
import socket
import sys

from andon_gateway.operations import log
from andon_gateway.operations.allocator import keep_large_blocks_apart
from andon_gateway.workers.process import die_with, work

if __name__ == "__main__":
    udp, channel, parent, level, gather_s = sys.argv[1:]
    die_with(int(parent))
    log.configure(level)
    keep_large_blocks_apart()
    asyncio.run(work(socket.socket(fileno=int(udp)), socket.socket(fileno=int(channel)), float(gather_s)))
