"""The node's CoAP resources (docs/protocol.md, "CoAP at the node")."""

import json

from micropython import const

from andon_node import senml
from andon_node.coap import message as coap
from andon_node.coap.response import Response

_JSON = const(50)
_LINK_FORMAT = const(40)


class Resources:
    """Answers requests; knows the names of the readings and their newest values, not the network."""

    def __init__(self, node, names, newest, desk, health, others, on_command, clock):
        """Serve readings; `names` are all there will be, `newest` has (unit, value, monotonic ms) by name.

        `others` serve what begins with a path segment: {segment: (links, async function of request and path)}.
        """
        self._base_name = node + "/"
        self._clock = clock
        self._paths = [name.encode() for name in names]
        self._newest = newest
        self._desk = desk
        self._health = health
        self._others = others
        self._on_command = on_command

    def links(self):
        """What there is, as RFC 6690 link-format."""
        links = ["</%s>;ct=112;obs" % path.decode() for path in self._paths]
        links += ["</relay/%d>;ct=50" % relay.channel for relay in self._desk.relays]
        links.append("</health>;ct=50")
        for others, _ in self._others.values():
            links += others
        return ",".join(links)

    async def handle(self, request):
        """Answer one request."""
        path = request.values(coap.URI_PATH)
        if len(path) == 2 and path[0] == b"relay":
            return await self._relay(request, path[1])
        if path and path[0] in self._others:
            return await self._others[path[0]][1](request, path)
        if len(path) == 2 and b"/".join(path) in self._paths:
            produce = self._reading
            content_format = senml.CONTENT_FORMAT
        elif path == [b"health"]:
            produce = self._health_document
            content_format = _JSON
        elif path == [b".well-known", b"core"]:
            produce = self._well_known
            content_format = _LINK_FORMAT
        else:
            return _not_found(path)
        if request.code != coap.GET:
            return Response(coap.METHOD_NOT_ALLOWED, "expected GET")
        return _unacceptable(request, content_format) or produce(path)

    async def _relay(self, request, number):
        relay = self._desk.relay(int(number)) if number.isdigit() else None
        if relay is None:
            return _not_found([b"relay", number])
        refusal = _unacceptable(request, _JSON)
        if refusal is not None:
            return refusal
        if request.code == coap.GET:
            return self._desk.status(relay)
        if request.code != coap.PUT:
            return Response(coap.METHOD_NOT_ALLOWED, "expected GET or PUT")
        content_format = request.option(coap.CONTENT_FORMAT)
        if content_format is not None and content_format != coap.uint(_JSON):
            return Response(coap.UNSUPPORTED_CONTENT_FORMAT, "expected content-format 50 (JSON)")
        response = await self._desk.execute(relay, request.payload)
        self._on_command()
        return response

    def _reading(self, path):
        name = b"/".join(path).decode()
        if name not in self._newest:
            return Response(coap.SERVICE_UNAVAILABLE, "no reading yet", max_age=1)
        unit, value, taken_ms = self._newest[name]
        writer = senml.PackWriter(self._base_name, 128)
        writer.begin()
        writer.base(None, None, self._clock.base_time_ms(taken_ms))
        writer.record(name, unit, value, 0)
        response = Response(coap.CONTENT, writer.finish(), senml.CONTENT_FORMAT)
        response.observable = True
        return response

    def _health_document(self, _path):
        return Response(coap.CONTENT, json.dumps(self._health()), _JSON)

    def _well_known(self, _path):
        return Response(coap.CONTENT, self.links(), _LINK_FORMAT)


def _not_found(path):
    return Response(coap.NOT_FOUND, b"/" + b"/".join(path) + b": not here, see /.well-known/core")


def _unacceptable(request, content_format):
    accept = request.option(coap.ACCEPT)
    if accept is None or accept == coap.uint(content_format):
        return None
    return Response(coap.NOT_ACCEPTABLE, "only content-format %d" % content_format)
