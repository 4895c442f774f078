"""Blockwise transfer on the server's side (RFC 7959): long responses in blocks, long requests from blocks."""

from binascii import crc32

from micropython import const

from andon_node.coap import message as coap
from andon_node.coap.response import Response

# Our largest block: exponent 5, 512 bytes.
_SZX = const(5)
MAX_BODY = 8192


class Blocks:
    """One long response is kept until its last block was fetched, and one long request while it comes in."""

    def __init__(self):
        self._kept = None
        self._upload = None

    def take(self, request):
        """Take a request with a block option.

        Returns:
            The answer to it, or None: `request.payload` is complete, and is to be handled.
        """
        return self._assemble(request) or self._cached(request)

    def cut(self, request, response):
        """Make a response fit: its first block, or the block that was asked for."""
        if response.code != coap.CONTENT:
            return response
        number, _, szx = _parse(request.option(coap.BLOCK2))
        if szx == 7:
            return _refuse(response, coap.BAD_REQUEST, "Block2: size exponent 7 is reserved")
        if len(response.payload) > 16 << min(szx, _SZX):
            self._kept = (request.source, request.values(coap.URI_PATH), response)
        return self._block(response, number, min(szx, _SZX))

    def _cached(self, request):
        """Return a later block of a response that is being fetched, None where this is nothing of that kind."""
        block2 = request.option(coap.BLOCK2)
        kept = self._kept
        if block2 is None or kept is None or request.code != coap.GET:
            return None
        number, _, szx = _parse(block2)
        if number == 0 or szx == 7 or kept[0] != request.source or kept[1] != request.values(coap.URI_PATH):
            return None
        return self._block(kept[2], number, min(szx, _SZX))

    def _block(self, whole, number, szx):
        size = 16 << szx
        start = number * size
        total = len(whole.payload)
        response = type(whole)(whole.code, whole.payload[start : start + size], whole.content_format, whole.max_age)
        if start and start >= total:
            return _refuse(response, coap.BAD_REQUEST, "Block2: the representation ends before that")
        more = start + size < total
        if not more and self._kept is not None and self._kept[2] is whole:
            self._kept = None
        response.extra = [
            (coap.ETAG, crc32(whole.payload).to_bytes(4, "big")),
            (coap.BLOCK2, coap.uint(number << 4 | more << 3 | szx)),
            (coap.SIZE2, coap.uint(total)),
        ]
        response.observable = whole.observable
        return response

    def _assemble(self, request):
        """Take a block of a long request; return the answer to it, None when the payload is complete."""
        block1 = request.option(coap.BLOCK1)
        if block1 is None:
            return None
        number, more, szx = _parse(block1)
        size = 16 << szx
        if szx == 7 or (more and len(request.payload) != size) or len(request.payload) > size:
            return _answer(coap.BAD_REQUEST, block1, "Block1: the block has not the size that it says")
        path = request.values(coap.URI_PATH)
        if number == 0:
            self._upload = (request.source, path, bytearray())
        upload = self._upload
        if upload is None or upload[0] != request.source or upload[1] != path or len(upload[2]) != number * size:
            return _answer(coap.REQUEST_ENTITY_INCOMPLETE, block1, "Block1: begin again with block 0")
        if len(upload[2]) + len(request.payload) > MAX_BODY:
            self._upload = None
            return _answer(coap.REQUEST_ENTITY_TOO_LARGE, block1, "at most %d bytes" % MAX_BODY)
        upload[2].extend(request.payload)
        if more:
            return _answer(coap.CONTINUE, block1, b"")
        request.payload = bytes(upload[2])
        self._upload = None
        return None


def _parse(value):
    """Return (number, more, size exponent) of a block option [2.2]; of none: (0, 0, ours)."""
    if value is None:
        return 0, 0, _SZX
    number = int.from_bytes(value, "big")
    return number >> 4, number >> 3 & 1, number & 7


def _answer(code, block1, text):
    response = Response(code, text)
    response.extra = [(coap.BLOCK1, block1)]
    return response


def _refuse(response, code, text):
    response.code = code
    response.payload = text
    response.content_format = None
    response.max_age = None
    response.observable = False
    return response
