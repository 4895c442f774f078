"""Updates as the node's resource `/update`: takes a job, carries it out across power cuts, tells how it went."""

import asyncio
import json
import os

from micropython import const

import andon_node
from andon_base import crumbs, slots
from andon_node import flash
from andon_node.coap import message as coap
from andon_node.coap.response import Response
from andon_node.update import image_trial

_JOB = const("update.json")
# The site's public key: 64 hexadecimal digits, put onto the board when it is provisioned.
KEY = "site_key.hex"
_JSON = const(50)
_CONFLICT = const(0x89)
_MAX_NAME = const(64)
_NAME_CHARS = const("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_PAUSE_MS = const(5000)
_RESET_PAUSE_MS = const(1000)


class Updates:
    """The one update that may be under way."""

    def __init__(self, request):
        """Take `async request(code, options)`, which asks the gateway until there is a response."""
        self._request = request
        self._wanted = asyncio.Event()
        self._job = _load_job()
        self._intake = None
        self._state = "idle"
        self._last = ""
        if self._job is not None:
            self._wanted.set()

    def status(self):
        """What there is to say, as JSON."""
        state = slots.load()
        job = self._job or {}
        intake = self._intake
        return {
            "version": andon_node.VERSION,
            "running": slots.running or "base",
            "state": "trial" if self._state == "idle" and state.trial is not None else self._state,
            "name": job.get("name"),
            "target": job.get("version"),
            "received": 0 if intake is None else intake.offset,
            "total": None if intake is None else intake.total,
            "last": self._last or state.last,
        }

    def handle(self, request):
        """Answer GET, PUT or DELETE."""
        if request.code == coap.PUT:
            refusal = self._take(request.payload)
            if refusal is not None:
                return refusal
            return Response(coap.CHANGED, json.dumps(self.status()), _JSON)
        if request.code == coap.DELETE:
            self._drop_job("cancelled")
            return Response(0x42, b"")  # 2.02 Deleted
        if request.code != coap.GET:
            return Response(coap.METHOD_NOT_ALLOWED, "expected GET, PUT or DELETE")
        return Response(coap.CONTENT, json.dumps(self.status()), _JSON)

    def _take(self, payload):
        job = _parse_job(payload)
        if job is None:
            return Response(coap.BAD_REQUEST, 'expected {"name": file at the gateway, "version": "1.2.3"}')
        if site_key() is None:
            return Response(coap.PRECONDITION_FAILED, "no site key on this node; provision it: " + KEY)
        if self._job is not None:
            if self._job["name"] == job["name"] and self._job["version"] == job["version"]:
                return None
            return Response(_CONFLICT, "an update is under way; DELETE /update ends it")
        if slots.on_trial() or image_trial.on_trial():
            return Response(_CONFLICT, "a version is on trial; wait until it is confirmed")
        flash.write_atomically(_JOB, json.dumps(job))
        self._job = job
        self._wanted.set()
        return None

    def _drop_job(self, last):
        self._last = last
        self._job = None
        self._state = "idle"
        self._wanted.clear()
        try:
            os.remove(_JOB)
        except OSError:
            pass

    async def run(self):
        """Carry out jobs for ever."""
        while True:
            await self._wanted.wait()
            self._state = "fetching"
            from andon_node.update.fetch import carry_out
            from andon_node.update.manifest import UpdateError

            job = self._job
            try:
                activated = await carry_out(self, job)
            except (UpdateError, OSError, MemoryError) as error:
                print("update:", error)
                self._fail(job, "failed %s: %s" % (job["version"], error))
            else:
                if activated:
                    self._drop_job("")
                    # Time for an answer that is under way.
                    await asyncio.sleep_ms(_RESET_PAUSE_MS)
                    crumbs.reset("update to " + job["version"])
                self._fail(job, "cancelled")

    def _fail(self, job, last):
        if self._intake is not None:
            try:
                self._intake.abandon()
            except OSError as error:
                print("update:", error)
        self._intake = None
        if self._job is job or self._job is None:
            self._drop_job(last)

    def begin(self, intake):
        """Note the intake of the job under way."""
        self._intake = intake

    def wanted(self, job):
        """Whether a job is still to be carried out."""
        return self._job is job

    def remember_etag(self, job, etag):
        """Keep which version of the file is being fetched."""
        job["etag"] = etag
        flash.write_atomically(_JOB, json.dumps(job))

    def site_key(self):
        """The site's public key, None where there is none or no good one."""
        return site_key()

    async def request(self, code, options):
        """Ask the gateway."""
        return await self._request(code, options)


def site_key():
    """The site's public key, None where there is none or no good one."""
    try:
        with open(KEY) as file:
            digits = file.read().strip()
        key = bytes(int(digits[at : at + 2], 16) for at in range(0, 64, 2))
    except (OSError, ValueError):
        return None
    return key if len(digits) == 64 else None


def _parse_job(payload):
    """Return the job of a request, None where it is none."""
    try:
        body = json.loads(payload)
        name, version = body["name"], body["version"]
        slots.parse_version(version)
        if 0 < len(name) <= _MAX_NAME and all(char in _NAME_CHARS for char in name):
            return {"name": name, "version": version, "etag": ""}
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


def _load_job():
    try:
        with open(_JOB) as file:
            job = json.load(file)
    except (OSError, ValueError):
        return None
    return job if isinstance(job, dict) and all(key in job for key in ("name", "version", "etag")) else None
