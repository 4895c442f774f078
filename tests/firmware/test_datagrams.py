"""A node whose heap is in pieces still hears what it needs to hear."""

from __future__ import annotations

import json

from firmware.aiocoap_gateway import free_udp_port
from firmware.micropython_vm import run_vm

SCRIPT = """
import asyncio, gc, json, socket, sys
from andon_node.net import udp

port = int(sys.argv[1])
datagrams = udp.DatagramSocket(port)
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
there = socket.getaddrinfo("127.0.0.1", port)[0][-1]
bodies = [bytes([65 + n]) * size for n, size in enumerate((20, 600, 1100, 30))]


async def hear(count):
    heard = []
    for _ in range(count):
        data, address = await asyncio.wait_for(datagrams.receive(), 20)
        heard.append([len(data), chr(data[0]), len(address) > 0])
    return heard


async def main():
    for body in bodies:
        sender.sendto(body, there)
    whole = await hear(4)
    gc.collect()
    pieces = []
    try:
        while True:
            pieces.append(bytearray(700))
    except MemoryError:
        pass
    for at in range(0, len(pieces), 2):
        pieces[at] = None
    gc.collect()
    try:
        bytearray(udp.MAX_DATAGRAM)
        in_pieces = False
    except MemoryError:
        in_pieces = True
    for body in bodies:
        sender.sendto(body, there)
    heard = await hear(4)
    pieces.clear()
    gc.collect()
    sender.sendto(bodies[2], there)
    print(json.dumps([whole, in_pieces, heard, await hear(1)]))


asyncio.run(main())
"""


def test_heap_in_pieces_takes_short_datagrams_and_long_ones_again_later() -> None:
    result = run_vm(SCRIPT, str(free_udp_port()))
    assert result.returncode == 0, result.stderr
    whole, in_pieces, heard, later = json.loads(result.stdout.splitlines()[-1])
    assert whole == [[20, "A", True], [600, "B", True], [1100, "C", True], [30, "D", True]]
    assert in_pieces
    # The long one is cut off, which no decoder takes for whole, and the one behind it is not lost.
    assert [item[0] for item in heard] == [20, 600, 640, 30]
    assert later == [[1100, "C", True]]
