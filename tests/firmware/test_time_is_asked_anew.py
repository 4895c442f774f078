"""A lost answer about the time: the request must not be repeated, or the gateway answers with the time of the first one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
from firmware.emulated_board import board_config, wait_until

if TYPE_CHECKING:
    from firmware.emulated_board import EmulatedBoard
    from firmware.register_file import RegisterFile

LIMIT_S = 60


class LossyGateway(asyncio.DatagramProtocol):
    """Answers as a gateway does, a repeat like the first time (RFC 7252 4.5); its first answer about the time gets lost."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.packs = 0
        self._answers: dict[int, bytes] = {}

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # datagram side
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        request = aiocoap.Message.decode(data)
        path = request.opt.uri_path
        first = not self.asked and path == ("time",)
        if path == ("time",):
            self.asked.append(request.mid)
        self.packs += path == ("t",)
        if request.mid not in self._answers:
            now = b"%d" % (time.time_ns() // 1_000_000)
            answer = {"time": aiocoap.Message(code=aiocoap.CONTENT, payload=now)}.get(
                path[0], aiocoap.Message(code=aiocoap.CREATED if path[0] == "rd" else aiocoap.CHANGED)
            )
            answer.mtype, answer.mid, answer.token = aiocoap.ACK, request.mid, request.token
            self._answers[request.mid] = answer.encode()
        if not first:
            self._transport.sendto(self._answers[request.mid], addr)


async def test_each_request_for_the_time_is_a_new_one(board: EmulatedBoard, registers: RegisterFile) -> None:
    registers.sensor(0, gpio=4, raw=400)
    transport, gateway = await asyncio.get_running_loop().create_datagram_endpoint(
        LossyGateway, local_addr=("127.0.0.1", 0)
    )
    try:
        board.put_config(board_config(transport.get_extra_info("sockname")[1]))
        board.start()
        await wait_until(lambda: gateway.packs, LIMIT_S)
        assert len(gateway.asked) >= 2, "the answer to the first was lost"
        assert len(set(gateway.asked)) == len(gateway.asked)
    finally:
        board.kill()
        transport.close()
