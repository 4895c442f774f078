"""The configuration: checked whole, on trial until the gateway is reached, rolled back otherwise, signed for outputs."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import aiocoap  # type: ignore[import-untyped]  # aiocoap ships no types
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from firmware.aiocoap_gateway import free_udp_port
from firmware.emulated_board import board_config, wait_until
from firmware.micropython_vm import MICROPYTHON, vm_environment
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware.aiocoap_gateway import AiocoapGateway
    from firmware.emulated_board import EmulatedBoard
    from firmware.register_file import RegisterFile

RELAYS = [{"channel": 0, "pin": "RELAY1"}]
HOT = {"when": {"channel": "temperature/0", "above": 85.0}, "relay": 0, "state": False}

# Line: an operation as JSON. Answers as JSON.
STORE = """
import asyncio, json, os, sys
from andon_node import config
from andon_node.config_change import protected
from andon_node.config_store import ConfigStore
store = None
resets = []

def clear():
    asyncio.new_event_loop()
    for name in os.listdir("."):
        os.remove(name)

def start():
    global store
    resets.clear()
    store = ConfigStore("config.json")
    store.reset = lambda: resets.append(1)
    try:
        settings = store.load()
    except config.ConfigError as error:
        return {"error": str(error)}
    return {"revision": settings.revision, "trial": store.trial}

def start_on_a_flash_that_fails_once():
    # The first rename, which counts the start with the candidate.
    import andon_node.config_store as module
    real = module.os
    class Failing:
        def __getattr__(self, name):
            return getattr(real, name)
        def rename(self, old, new):
            module.os = real
            raise OSError(5)
    module.os = Failing()
    try:
        return start()
    finally:
        module.os = real

def write(name, text):
    with open(name, "w") as file:
        file.write(text)

async def put(body, signature):
    answer = await store.put(body.encode(), signature)
    return {"code": "%d.%02d" % (answer.code >> 5, answer.code & 31), "text": answer.payload}

class Late:
    def monotonic_ms(self):
        return 10

def timeout():
    asyncio.run(store.try_out(lambda: False, 1, Late()))
    return len(resets)

def reached():
    asyncio.run(store.try_out(lambda: True, 1000, Late()))
    return len(resets)

def answer(line):
    name, *arguments = json.loads(line)
    if name == "put":
        return asyncio.run(put(*arguments))
    if name == "get":
        return json.loads(store.get().payload)
    if name == "protected":
        return protected(*arguments)
    if name == "start_on_a_flash_that_fails_once":
        return start_on_a_flash_that_fails_once()
    return {"start": start, "write": write, "timeout": timeout, "reached": reached, "clear": clear}[name](*arguments)

while True:
    line = sys.stdin.readline()
    if not line:
        break
    sys.stdout.write("> " + json.dumps(answer(line)) + "\\n")
"""


class Store:
    """A `ConfigStore` in the VM, in a folder of the host."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [str(MICROPYTHON), "-X", "heapsize=1m", "-c", STORE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=vm_environment(sim=True),
            cwd=self._folder.name,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
        self._folder.cleanup()

    def ask(self, name: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
        while True:
            line = self._process.stdout.readline()
            assert line, "the VM ended"
            if line.startswith("> "):
                return json.loads(line[2:])

    def kept(self) -> Any:
        """The last good document."""
        return json.loads((Path(self._folder.name) / "config.json").read_text())

    def files(self) -> set[str]:
        return {path.name for path in Path(self._folder.name).iterdir()}


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with Store() as started:
        yield started


def document(revision: int, **changes: Any) -> str:
    return json.dumps(board_config(5683, revision=revision, **changes))


def fresh(store: Store, **changes: Any) -> None:
    store.ask("clear")
    store.ask("write", "config.json", document(1, **changes))
    assert store.ask("start") == {"revision": 1, "trial": False}


def test_a_flash_that_fails_costs_the_candidate_and_never_the_last_good_document(store: Store) -> None:
    fresh(store)
    assert store.ask("put", document(2, sample_ms=2000), None)["code"] == "2.04"
    assert store.ask("start_on_a_flash_that_fails_once") == {"revision": 1, "trial": False}
    assert store.kept()["revision"] == 1
    assert store.ask("start") == {"revision": 1, "trial": False}
    assert not any(name.startswith("candidate") for name in store.files())


OPERATIONS = st.lists(st.sampled_from(["put", "bad", "cut", "reached", "timeout"]), max_size=14)


@settings(max_examples=80, deadline=None)
@given(operations=OPERATIONS)
def test_a_candidate_is_kept_once_it_reached_the_gateway_and_never_otherwise(
    store: Store, operations: list[str]
) -> None:
    """Against a model: the last good revision, and the candidate with its number of starts."""
    fresh(store)
    good, running, trial = 1, 1, False
    candidate: tuple[int, int] | None = None
    revision = 1
    for operation in operations:
        if operation == "put":
            revision += 1
            answer = store.ask("put", document(revision, sample_ms=900 + revision), None)
            assert answer["code"] == ("4.09" if trial else "2.04"), answer
            if not trial:
                candidate = (revision, 0)
        elif operation == "bad":
            assert store.ask("put", document(running), None)["code"] == ("4.09" if trial else "4.00")
        elif operation == "reached":
            assert store.ask("reached") == 0
            if trial:
                good, candidate, trial = running, None, False
        elif operation == "timeout" and trial:
            assert store.ask("timeout") == 1
            candidate = None
        if operation == "cut" or (operation == "timeout" and trial):
            # The power, or the reset that was asked for.
            if candidate is not None and candidate[1] < 3:
                candidate = (candidate[0], candidate[1] + 1)
                running, trial = candidate[0], True
            else:
                candidate, running, trial = None, good, False
            assert store.ask("start") == {"revision": running, "trial": trial}
        assert store.ask("get")["revision"] == running
    left = {name for name in store.files() if name.startswith("candidate")}
    assert len(left) == (candidate is not None)


@settings(max_examples=40, deadline=None)
@given(
    text=st.one_of(
        st.text(max_size=40), st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists).map(json.dumps)
    )
)
def test_no_body_does_harm(store: Store, text: str) -> None:
    fresh(store)
    before = store.files()
    assert store.ask("put", text, None)["code"] == "4.00"
    assert store.files() == before


def test_errors_name_the_key(store: Store) -> None:
    fresh(store)
    for changes, says in (
        ({"node": "press-2"}, "node: expected press-1"),
        ({"sample_ms": 5}, "sample_ms: expected a whole number"),
        ({"revision": 1}, "revision: expected more than 1"),
        ({"colour": "red"}, "colour: no such key"),
        (
            {"interlocks": [{**HOT, "when": {"channel": "temperature/0", "above": float("1e308") * 10}}]},
            "interlocks[0].when.above: expected a number",
        ),
        ({"interlocks": [{**HOT, "relay": 3}]}, "interlocks[0].relay: expected the channel of a relay"),
        (
            {"interlocks": [{**HOT, "when": {"channel": "temperature/7", "above": 1}}]},
            "interlocks[0].when.channel: expected",
        ),
        ({"interlocks": [{**HOT, "when": {"channel": "temperature/0"}}]}, "interlocks[0].when.above: expected either"),
        ({"interlocks": [HOT, {**HOT, "state": True}]}, "interlocks[1].state: expected the same state"),
    ):
        body = json.dumps({**board_config(5683), "revision": 2, **changes}).replace("Infinity", "1e999")
        answer = store.ask("put", body, None)
        assert answer["code"] == "4.00"
        assert answer["text"].startswith(says)


def test_the_password_is_never_shown_and_need_not_be_sent_again(store: Store) -> None:
    fresh(store)
    shown = store.ask("get")
    assert shown["wifi"] == {"ssid": "hall"}
    assert store.ask("put", json.dumps({**shown, "revision": 2}), None)["code"] == "2.04"
    assert store.ask("start") == {"revision": 2, "trial": True}
    store.ask("reached")
    assert store.kept()["wifi"]["password"] == "secret"


FREE = {
    "wifi": {"ssid": "other"}, "gateway": {"host": "10.0.0.9"}, "coap_port": 5000, "pack_ms": 5000,
    "journal_bytes": 65536, "trial_s": 60,
}  # fmt: skip
SENSING = {"sample_ms": 2000, "temperature": [{"channel": 0, "pin": "W2"}], "cycles": []}
GUARDED = {
    "relays": [{"channel": 0, "pin": "RELAY1", "safe": True}],
    "hold_s": 9,
    "lease_max_s": 9,
    "interlocks": [HOT],
}


@settings(max_examples=100, deadline=None)
@given(
    keys=st.sets(st.sampled_from([*FREE, *SENSING, *GUARDED])),
    relays=st.booleans(),
    interlocked=st.booleans(),
)
def test_what_must_be_signed(store: Store, keys: set[str], *, relays: bool, interlocked: bool) -> None:
    running = board_config(5683, relays=RELAYS if relays else [])
    if interlocked and relays:
        running["interlocks"] = [{**HOT, "latching": True}]
    changed = {**running, **{key: {**FREE, **SENSING, **GUARDED}[key] for key in keys}}
    touched = store.ask("protected", running, changed)
    outputs = bool(running["relays"] or changed["relays"])
    with_rules = bool(running.get("interlocks") or changed.get("interlocks"))
    expected = {key for key in keys if key in GUARDED or (with_rules and key in SENSING)} if outputs else set()
    assert (touched in expected) if expected else touched is None


def test_outputs_change_only_with_the_sites_signature(store: Store) -> None:
    fresh(store)
    key = Ed25519PrivateKey.generate()
    body = document(2, interlocks=[HOT])
    good = key.sign(b"andon config\n" + body.encode()).hex()
    unsigned = store.ask("put", body, None)
    assert unsigned["code"] == "4.03"
    assert unsigned["text"].startswith("interlocks: a change needs the site's signature")
    assert "has no site_key.hex" in store.ask("put", body, good)["text"]
    store.ask("write", "site_key.hex", key.public_key().public_bytes_raw().hex() + "\n")
    for body_sent, signature in (
        (body, "00" * 64),
        (body, good[:-2]),
        (body, "x" * 128),
        (body + " ", good),
        (body, Ed25519PrivateKey.generate().sign(b"andon config\n" + body.encode()).hex()),
        (body, key.sign(body.encode()).hex()),
    ):
        assert store.ask("put", body_sent, signature)["code"] == "4.03"
    assert not any(name.startswith("candidate") for name in store.files())
    assert store.ask("put", body, good)["code"] == "2.04"
    assert store.ask("start") == {"revision": 2, "trial": True}
    store.ask("reached")
    # The same signed document again is an old one.
    assert store.ask("put", body, good)["text"].startswith("revision: expected more than 2")


async def restarted(board: EmulatedBoard) -> None:
    """The board asks for a restart; whoever supervises it obeys."""
    await wait_until(lambda: board.exit_status() == 75, 15)
    board.start()


async def config(gateway: AiocoapGateway) -> Any:
    return json.loads((await gateway.ask(aiocoap.GET, "config")).payload)


async def test_new_configuration_over_coap_is_confirmed_by_the_gateway(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    registers.sensor(0, gpio=4, raw=320)
    board.put_config(board_config(gateway.port, revision=1))
    board.start()
    await wait_until(lambda: gateway.registrations and gateway.packs)
    body = json.dumps({**await config(gateway), "revision": 2, "sample_ms": 1500})
    answer = await gateway.ask(aiocoap.PUT, "config", body.encode())
    assert json.loads(answer.payload) == {"revision": 2, "trial": True}
    await restarted(board)
    await wait_until(lambda: "config: confirmed" in board.log())
    health = json.loads((await gateway.ask(aiocoap.GET, "health")).payload)
    assert (health["revision"], health["trial"], health["refused"]) == (2, False, None)
    board.kill()
    board.start()
    await wait_until(lambda: gateway.packs[-1].boot == 3)
    assert (await config(gateway))["sample_ms"] == 1500


async def test_configuration_that_does_not_reach_the_gateway_is_rolled_back(
    board: EmulatedBoard, gateway: AiocoapGateway, registers: RegisterFile
) -> None:
    registers.sensor(0, gpio=4, raw=320)
    board.put_config(board_config(gateway.port, revision=1))
    board.start()
    await wait_until(lambda: gateway.registrations and gateway.packs)
    lost = {"revision": 2, "gateway": {"host": "127.0.0.1", "port": free_udp_port()}, "trial_s": 5}
    body = json.dumps({**await config(gateway), **lost})
    assert (await gateway.ask(aiocoap.PUT, "config", body.encode())).code == aiocoap.CHANGED
    await restarted(board)
    # The power goes in the middle of the trial.
    await wait_until(lambda: "boot 2" in board.log())
    reads = registers.reads(0)
    await wait_until(lambda: registers.reads(0) > reads + 1)
    board.kill()
    board.start()
    await restarted(board)
    await wait_until(lambda: gateway.packs[-1].boot == 4)
    health = json.loads((await gateway.ask(aiocoap.GET, "health")).payload)
    assert (health["revision"], health["trial"]) == (1, False)
    assert health["refused"] == "rolled back: the gateway was not reached within 5 s"
    # What was measured meanwhile was not lost.
    assert {pack.boot for pack in gateway.packs} == {1, 2, 3, 4}
