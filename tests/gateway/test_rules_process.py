"""Rules in the real gateway process: kill -9, the cloud away, versions, and what an operator sees."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from gateway.packs import pack, temperature
from gateway.rules_reference import events as expected_events
from gateway.stand_in_cloud import TOKEN, StandInCloud, influx_error, wait_until
from gateway.test_commands import AiocoapNode, until
from gateway.udp_node import UdpNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.gateway_process import GatewayProcess

LIMIT_S = 60
HOT = {
    "id": "hot",
    "type": "high",
    "nodes": ["press-*"],
    "channel": "temperature/0",
    "setpoint": 80,
    "priority": "high",
}
CHANGED = (2, 4)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def post(node: UdpNode, payload: bytes) -> None:
    wait_until(lambda: node.post(payload, 2) == CHANGED, "the pack to be taken", LIMIT_S)


def alarms(cloud: StandInCloud, rule: str = "hot") -> list[tuple[int, bool, float]]:
    """(time, active, value) of the events in the store, by time."""
    found = []
    for (series, stamp), fields in list(cloud.points.items()):
        if series.startswith("alarm,") and f"rule={rule}," in series:
            parts = dict(part.split("=") for part in fields.split(","))
            found.append((int(stamp), parts["active"] == "true", float(parts["value"])))
    return sorted(found)


def in_force(gateway: GatewayProcess, version: int) -> None:
    wait_until(lambda: gateway.metric("rules_version") == version, f"version {version} in force", LIMIT_S)


@pytest.mark.timeout(300)
def test_events_are_exactly_once_through_kills_and_an_absent_cloud(
    gateway: GatewayProcess, cloud: StandInCloud
) -> None:
    """The gateway dies at random moments, also between a reading and its event; its node repeats what was not answered."""
    randomness = random.Random(7)
    gateway.start()
    cloud.mount("press-7")
    rule = {**HOT, "deadband": 1, "on_delay_s": 1, "off_delay_s": 1}
    cloud.use_rules(1, rule)
    in_force(gateway, 1)
    base = now_ms() - 10_000_000
    samples: list[tuple[int, float]] = []
    with UdpNode(gateway.coap_port) as node:
        for seq in range(120):
            readings = [(base + (4 * seq + part) * 1000, randomness.choice([78.0, 79.5, 81.0])) for part in range(4)]
            samples += readings
            payload = pack(
                "press-7",
                1,
                seq,
                *[temperature(value, offset_ms=time_ms - base) for time_ms, value in readings],
                base_ms=base,
            )
            if seq % 20 == 7:
                # The answer is not awaited: the pack may be anywhere between the socket and the disk.
                node.post(payload, randomness.choice([0.0, 0.001, 0.003, 0.01]))
                gateway.kill()
                gateway.start()
            if seq == 40:
                cloud.rule = lambda _lines: influx_error(503, "unavailable", "away")
            if seq == 80:
                cloud.rule = None
            post(node, payload)
    expected = expected_events(rule, samples)
    assert len(expected) > 20
    wait_until(lambda: len(cloud.values("temperature", "celsius")) == len(samples), "all readings", LIMIT_S)
    wait_until(lambda: len(alarms(cloud)) >= len(expected), "all events", LIMIT_S)
    assert alarms(cloud) == expected


@pytest_asyncio.fixture(loop_scope="function")
async def node() -> AsyncIterator[AiocoapNode]:
    started = await AiocoapNode("press-7").start()
    yield started
    await started.stop()


@pytest.mark.timeout(300)
async def test_a_relay_is_opened_while_the_cloud_is_away_and_the_cloud_is_told_later(
    gateway: GatewayProcess, cloud: StandInCloud, node: AiocoapNode
) -> None:
    opening = {**HOT, "action": {"relay": 0, "state": False, "lease_s": 600}}
    gateway.start()
    await node.register(gateway)
    cloud.mount("press-7")
    cloud.use_rules(1, opening)
    await until(lambda: gateway.metric("rules_version") == 1, "the rules in force", LIMIT_S)
    await asyncio.to_thread(cloud.stop)
    gateway.kill()
    gateway.start()  # the rules are on its disk
    times: list[int] = []
    deadline = time.monotonic() + LIMIT_S
    with UdpNode(gateway.coap_port) as sender:
        # More than once, as a node does: on a busy machine the first command may have expired before it leaves.
        while not node.relay.commands:
            assert time.monotonic() < deadline, "the relay was not switched"
            times.append(now_ms())
            payload = pack("press-7", 1, len(times), temperature(81.5), base_ms=times[-1])
            await asyncio.to_thread(post, sender, payload)
            # The pack came from another port than the node's own: it says again where its relay is.
            await node.register(gateway)
            await asyncio.sleep(0.5)
    command = node.relay.commands[0]
    assert (command["state"], command["lease_s"]) == (False, 600)
    back = StandInCloud(cloud.port)
    back.mount("press-7")
    back.use_rules(1, opening)
    await asyncio.to_thread(back.start)
    try:
        await until(lambda: "acknowledged" in back.reported(command["id"]), "the outcome", LIMIT_S)
        declared = back.declared[command["id"]]
        told = [declared[key] for key in ("node", "relay", "state", "lease_s", "rule")]
        assert told == ["press-7", 0, False, 600, "hot"]
        await until(lambda: alarms(back), "the event", LIMIT_S)
        assert alarms(back) == [(times[0], True, 81.5)]
    finally:
        await asyncio.to_thread(back.stop)


@pytest.mark.timeout(300)
def test_versions_roll_over_and_bad_ones_do_not(gateway: GatewayProcess, cloud: StandInCloud) -> None:
    gateway.start()
    cloud.mount("press-7")
    cloud.use_rules(1, HOT)
    in_force(gateway, 1)
    with UdpNode(gateway.coap_port) as node:
        post(node, pack("press-7", 1, 0, temperature(85.0), base_ms=now_ms()))
        wait_until(lambda: [event[1] for event in alarms(cloud)] == [True], "the alarm", LIMIT_S)
        cloud.use_rules(2, HOT, {**HOT, "id": "bad", "setpoint": "eighty"})
        wait_until(lambda: gateway.metric("rules_refused_documents_total") == 1, "the refusal", LIMIT_S)
        assert "rules.1.setpoint: Input should be a valid number" in gateway.log.read_text()
        assert (gateway.metric("rules_version"), gateway.metric("rules_count")) == (1, 1)
        wait_until(lambda: len(cloud.rules_status) >= 2, "the cloud to be told", LIMIT_S)
        good, bad = cloud.rules_status
        assert good == {"version": 1, "rules": 1, "refused": ""}
        assert (bad["version"], bad["refused"].partition(":")[0]) == (1, "rules.1.setpoint")
        gateway.kill()
        gateway.start()
        assert gateway.metric("rules_version") == 1
        cloud.use_rules(3, {**HOT, "setpoint": 90}, {**HOT, "id": "cold", "type": "low", "setpoint": 5})
        in_force(gateway, 3)
        wait_until(lambda: [event[1] for event in alarms(cloud)] == [True, False], "the old alarm to end", LIMIT_S)
        assert (gateway.metric("rules_count"), gateway.metric("rules_alarms_active")) == (2, 0)
        pulls = cloud.pulls
        cloud.drop_streams()
        wait_until(lambda: cloud.streams >= 3, "the stream again", LIMIT_S)
        post(node, pack("press-7", 1, 1, temperature(91.0), base_ms=now_ms()))
        wait_until(lambda: len(alarms(cloud)) == 3, "the new alarm", LIMIT_S)
    assert cloud.pulls == pulls, "what it has is not pulled again"
    assert gateway.metric("rules_errors_total") == 0
    assert 'rules_alarm_events_total{event="raised"} 1.0' in gateway.get("/metrics")


@pytest.mark.timeout(300)
def test_silence_is_an_alarm(gateway: GatewayProcess, cloud: StandInCloud) -> None:
    gateway.start()
    cloud.mount("press-7", "press-8")
    rule = {"type": "no-data", "channel": "temperature/0", "timeout_s": 1, "priority": "low"}
    cloud.use_rules(1, {**rule, "id": "hot", "nodes": ["press-*"]})
    in_force(gateway, 1)
    with UdpNode(gateway.coap_port) as node:
        start_ms = now_ms()
        post(node, pack("press-7", 1, 0, temperature(20.0), base_ms=start_ms))
        wait_until(lambda: alarms(cloud), "the alarm", LIMIT_S)
        ((time_ms, active, value),) = alarms(cloud)
        assert (time_ms, active, value) == (start_ms + 1000, True, 1.0)
        # A busy machine may make one reading old before it arrives: the node goes on measuring, as nodes do.
        deadline, seq = time.monotonic() + LIMIT_S, 0
        while len(alarms(cloud)) < 2:
            assert time.monotonic() < deadline, "the alarm did not end"
            seq += 1
            post(node, pack("press-7", 1, seq, temperature(20.0), base_ms=now_ms()))
        assert [event[1] for event in alarms(cloud)][:2] == [True, False]


def test_check_tells_of_the_rules_on_disk(gateway: GatewayProcess, cloud: StandInCloud) -> None:
    def check() -> str:
        command = [sys.executable, "-m", "andon_gateway", "check", "--config", str(gateway.config)]
        environment = {"ANDON_GATEWAY_TOKEN": TOKEN, "PATH": ""}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=LIMIT_S)
        return done.stdout.splitlines()[-1]

    gateway.start()
    assert check() == "rules        none on disk; they come from the cloud"
    cloud.use_rules(4, HOT, {**HOT, "id": "other", "action": {"relay": 1, "state": True, "lease_s": 5}})
    in_force(gateway, 4)
    assert check() == "rules        version 4: 2 rules, 1 of them switch a relay"


def test_an_event_of_the_stream_that_cannot_be_read_changes_nothing(
    gateway: GatewayProcess, cloud: StandInCloud
) -> None:
    gateway.start()
    cloud.use_rules(1, HOT)
    in_force(gateway, 1)
    data: Any
    for data in ({"version": "2", "etag": "x"}, {"version": 2}, [], {"version": 2, "etag": ""}):
        cloud.raw_event(f"event: rules\ndata: {json.dumps(data)}\n\n")
    wait_until(lambda: gateway.log.read_text().count("event 'rules'") == 4, "four lines in the log", LIMIT_S)
    assert gateway.metric("rules_version") == 1
