"""The configuration on flash: the last good one, and at most one candidate that must prove itself.

config.json is the last good document. A new one is kept as candidate.0 and the node starts again; each start with it counts
by renaming it to candidate.1, candidate.2, ... before it is used. Once the node has reached its gateway with it, it becomes
config.json, by one rename. Otherwise it is removed, at the latest after some starts or when its time is over.
"""

import asyncio
import json
import os

import machine
from micropython import const

from andon_node import flash
from andon_node.coap import message as coap
from andon_node.coap.response import Response
from andon_node.passing import forget

_JSON = const(50)
_STARTS = const(3)
_RESET_MS = const(1000)
_POLL_MS = const(250)
_CANDIDATE = const("candidate.%d")
_REFUSED = const("config-refused.txt")


class ConfigStore:
    """Loads, replaces and rolls back the configuration.

    Args:
        path: The last good document.

    Attributes:
        reset: Starts the node again.
        trial: Whether the running document has still to prove itself.
        refused: Why the last candidate was rolled back, or None.
    """

    def __init__(self, path="config.json"):
        self._path = path
        self._running = path
        self.trial = False
        self.refused = None
        self.reset = machine.reset
        self._restart = None
        try:
            with open(_REFUSED) as file:
                self.refused = file.read()
        except (OSError, UnicodeError):
            pass

    def load(self):
        """Return the checked configuration to run with.

        Raises:
            ConfigError: There is no usable document.
        """
        from andon_node import config

        for starts in range(_STARTS, -1, -1):
            name = _CANDIDATE % starts
            if not flash.exists(name):
                continue
            if starts == _STARTS:
                self._refuse(name, "%d starts did not reach the gateway" % _STARTS)
                continue
            self._running = name
            try:
                # Counted before it is used.
                os.rename(name, _CANDIDATE % (starts + 1))
                self._running = _CANDIDATE % (starts + 1)
                settings = config.load(self._running)
            except (config.ConfigError, OSError) as error:
                self._refuse(self._running, str(error))
                continue
            self.trial = True
            return settings
        self._running = self._path
        return config.load(self._path)

    def _refuse(self, name, reason):
        print("config: rolled back:", reason)
        self.refused = "rolled back: " + reason
        try:
            flash.write_atomically(_REFUSED, self.refused)
            os.remove(name)
        except OSError as error:
            print("config:", error)

    def confirm(self):
        """The gateway was reached: the candidate is the last good one from now on."""
        os.rename(self._running, self._path)
        self._running = self._path
        self.trial = False
        self.refused = None
        if flash.exists(_REFUSED):
            os.remove(_REFUSED)

    async def try_out(self, reached, limit_ms, clock):
        """Confirm the candidate as soon as `reached()`, or roll it back after `limit_ms` and start again."""
        if not self.trial:
            return
        while clock.monotonic_ms() < limit_ms:
            if reached():
                self.confirm()
                print("config: confirmed")
                return
            await asyncio.sleep_ms(_POLL_MS)
        self._refuse(self._running, "the gateway was not reached within %d s" % (limit_ms // 1000))
        self.reset()

    async def handle(self, request, path):
        """Serve /config."""
        if path != [b"config"]:
            return Response(coap.NOT_FOUND, "expected /config")
        if request.code == coap.GET:
            return self.get()
        if request.code != coap.PUT:
            return Response(coap.METHOD_NOT_ALLOWED, "expected GET or PUT")
        signature = None
        for query in request.values(coap.URI_QUERY):
            if query[:4] == b"sig=":
                signature = query[4:].decode()
        return await self.put(request.payload, signature)

    def _document(self):
        with open(self._running) as file:
            return json.load(file)

    def get(self):
        """Answer with the running document, without its secret."""
        document = self._document()
        document.get("wifi", {}).pop("password", None)
        return Response(coap.CONTENT, json.dumps(document), _JSON)

    async def put(self, body, signature):
        """Take a new document: checked whole, kept as a candidate, used after a reset, which comes a second later.

        Args:
            body: The document.
            signature: Its Ed25519 signature in hexadecimal digits, or None.
        """
        try:
            document = json.loads(body)
        except (ValueError, UnicodeError):
            return Response(coap.BAD_REQUEST, "body: expected a JSON object")
        if self.trial:
            return Response(coap.CONFLICT, "the running configuration is still on trial, try again later")
        running = self._document()
        # Nobody reads the password back, so nobody has to send it either.
        wifi = document.get("wifi") if isinstance(document, dict) else None
        old = running.get("wifi", {})
        if isinstance(wifi, dict) and "password" not in wifi and wifi.get("ssid") == old.get("ssid"):
            wifi["password"] = old.get("password", "")
        from andon_node import config_change

        try:
            revision = config_change.checked_revision(running, document)
        except ValueError as error:
            return Response(coap.BAD_REQUEST, str(error))
        finally:
            forget_checks()
        touched = config_change.protected(running, document)
        refusal = None if touched is None else await config_change.check_signature(touched, body, signature)
        if refusal is not None:
            return Response(coap.FORBIDDEN, refusal)
        flash.write_atomically(_CANDIDATE % 0, json.dumps(document))
        # Kept, or it would be collected before it ran.
        self._restart = asyncio.create_task(_later(self.reset))
        return Response(coap.CHANGED, json.dumps({"revision": revision, "trial": True}), _JSON)


def forget_checks():
    """Give back the memory of the modules that check a configuration; they are loaded again when there is one to check."""
    forget("andon_node.config", "andon_node.boards", but=__name__)


async def _later(reset):
    await asyncio.sleep_ms(_RESET_MS)
    reset()
