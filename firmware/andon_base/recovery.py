"""What runs when no application does: outputs stay safe, `/health`, `/update` and `/config` answer, the REPL is within reach.

It is made of the parts that were put onto the board together with these files, never of a slot. There is no watchdog, so
that somebody at the REPL has all the time; after a while the applications are tried again.
"""

import asyncio
import json
import sys
import time

import network
from micropython import const

from andon_base import crumbs, slots

# When to try the applications again. Not soon: whoever repairs the node needs some time in peace.
_AGAIN_S = const(900)
_LOOK_S = const(5)
_RETRY_MS = const(2000)
_COAP_PORT = const(5683)
_JSON = const(50)
_LAN = ("address", "mask", "gateway", "dns")


def run(config_path, why, ready=None):
    """Serve until an update, `ready()` or the time says otherwise; comes back only by a reset."""
    print("recovery:", why)
    try:
        asyncio.run(_Recovery(config_path, why).run(ready))
    except Exception as error:
        # Even its parts are broken: the REPL and the clock are what is left.
        sys.print_exception(error)
        time.sleep(_AGAIN_S)
    crumbs.reset("out of recovery")


class _Recovery:
    def __init__(self, config_path, why):
        self._config_path = config_path
        self._why = why
        self._document = _read(config_path)
        self._link = None
        self._endpoint = None
        self._tasks = []

    async def run(self, ready):
        from andon_node.coap import open_security
        from andon_node.coap.endpoint import Endpoint
        from andon_node.net.link import open_link
        from andon_node.update.desk import Updates

        self._link = open_link(_link_settings(self._config_path, self._document))
        self._endpoint = Endpoint(self._link.datagrams, self._handle, open_security())
        self._updates = Updates(self._ask_gateway)
        for work in (self._link.run, self._endpoint.serve, self._updates.run, self._say_where):
            self._tasks.append(asyncio.create_task(_keep(work)))
        for _ in range(_AGAIN_S // _LOOK_S):
            await asyncio.sleep(_LOOK_S)
            if ready is not None and ready():
                return

    async def _say_where(self):
        """Register at the gateway, so that it knows the address for `/update`; again within the lifetime."""
        from andon_node.coap import message as coap

        node = self._document.get("node")
        while True:
            if isinstance(node, str):
                options = [
                    (coap.URI_PATH, b"rd"),
                    (coap.CONTENT_FORMAT, coap.uint(40)),
                    (coap.URI_QUERY, b"ep=" + node.encode()),
                    (coap.URI_QUERY, b"lt=60"),
                ]
                await self._ask_gateway(coap.POST, options, b"</health>;ct=50,</update>;ct=50,</config>;ct=50")
            await asyncio.sleep(20)

    async def _ask_gateway(self, code, options, payload=b""):
        from andon_node.coap.endpoint import CoapError

        while True:
            try:
                await self._link.wait_connected()
                return await self._endpoint.request(self._link.gateway_address(), code, options, payload)
            except (CoapError, OSError) as error:
                print("recovery:", error)
            await asyncio.sleep_ms(_RETRY_MS)

    async def _handle(self, request):
        from andon_node.coap import message as coap
        from andon_node.coap.endpoint import Response

        path = request.values(coap.URI_PATH)
        if path == [b"update"]:
            return self._updates.handle(request)
        if path == [b"config"]:
            return await self._config(request)
        if path == [b".well-known", b"core"]:
            return Response(coap.CONTENT, b"</health>;ct=50,</update>;ct=50,</config>;ct=50", 40)
        if path == [b"health"]:
            body = {
                "recovery": self._why,
                "uptime_s": time.ticks_ms() // 1000,
                "reset_cause": crumbs.cause,
                "reset_detail": crumbs.detail,
                "last_error": slots.load().last,
            }
            return Response(coap.CONTENT, json.dumps(body), _JSON)
        return Response(coap.NOT_FOUND, "recovery: /health, /update and /config are here")

    async def _config(self, request):
        from andon_node.coap import message as coap
        from andon_node.coap.endpoint import Response
        from andon_node.config_store import ConfigStore

        store = ConfigStore(self._config_path)
        if request.code == coap.GET:
            return store.get()
        if request.code != coap.PUT:
            return Response(coap.METHOD_NOT_ALLOWED, "expected GET or PUT")
        signature = None
        for query in request.values(coap.URI_QUERY):
            if query[:4] == b"sig=":
                signature = query[4:].decode()
        return await store.put(request.payload, signature)


class _LinkSettings:
    """What a link to the gateway needs, from a document that nobody has checked."""

    def __init__(self, document):
        # A board without a radio has a cable, with the address that was configured or one that is given to it.
        self.link = "wifi" if hasattr(network, "WLAN") else "lan"
        lan = _section(document, "lan")
        self.lan = tuple(str(lan.get(key, lan["address"])) for key in _LAN) if "address" in lan else None
        wifi = _section(document, "wifi")
        gateway = _section(document, "gateway")
        self.ssid = str(wifi.get("ssid", ""))
        self.password = str(wifi.get("password", ""))
        self.node = str(document.get("node", "andon"))
        self.coap_port = _port(document.get("coap_port"))
        self.gateway_host = str(gateway.get("host", ""))
        self.gateway_port = _port(gateway.get("port"))


def _link_settings(config_path, document):
    from andon_node import config

    try:
        return config.load(config_path)
    except config.ConfigError:
        return _LinkSettings(document)


def _section(document, name):
    section = document.get(name)
    return section if isinstance(section, dict) else {}


def _port(value):
    return value if type(value) is int and 0 <= value <= 65535 else _COAP_PORT


def _read(config_path):
    # Not the application's own reading: the configuration may be what is wrong.
    try:
        with open(config_path) as file:
            document = json.load(file)
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


async def _keep(work):
    """Run a part for ever; what breaks in one does not stop the others."""
    while True:
        try:
            await work()
        except Exception as error:
            sys.print_exception(error)
        await asyncio.sleep_ms(_RETRY_MS)
