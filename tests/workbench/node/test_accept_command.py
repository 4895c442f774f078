"""`andon node accept` as an integrator runs it, against an emulated board on its pty in a jig that acts as it is asked to."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from typing import TYPE_CHECKING

import pytest
from workbench.node.accept_jig import COIL, COIL_2, Jig

from andon_workbench.bundle.keys import make_key
from andon_workbench.node.accept import AcceptanceTest
from andon_workbench.node.accept_board import BoardUnderTest, Output
from andon_workbench.node.accept_person import Prepared
from andon_workbench.node.link import BoardLink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = pytest.mark.timeout(240)

ANSWERS = {"isolated": True, "outputs": {"relay/1": True}, "pulses": {"cycles/0": 5}, "wait_s": 60}


@pytest.fixture(scope="module")
def equipped(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Path:  # noqa: ARG001  the firmware that is put on
    """The flash of a board with firmware, configuration and keys, made once."""
    folder = tmp_path_factory.mktemp("equipped") / "jig"

    async def make() -> None:
        async with Jig(folder) as jig:
            await jig.equip()

    asyncio.run(make())
    return folder / "flash.img"


@pytest.fixture
async def jig(equipped: Path, tmp_path: Path) -> AsyncIterator[Jig]:
    folder = tmp_path / "jig"
    folder.mkdir()
    shutil.copy(equipped, folder / "flash.img")
    async with Jig(folder) as running:
        with_gateway = {"host": "127.0.0.1", "port": running.gateway_port}

        def turn_to_gateway() -> None:
            with BoardLink(running.line.port) as board:
                document = json.loads(board.read("config.json")) | {"gateway": with_gateway}
                board.write("config.json", json.dumps(document).encode())

        await asyncio.to_thread(turn_to_gateway)
        yield running


@pytest.fixture
def words(tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    key = tmp_path / "inspector.key"
    (tmp_path / "inspector.hex").write_text(make_key(key) + "\n")

    def options(**answers: object) -> tuple[str, ...]:
        (tmp_path / "answers.json").write_text(json.dumps(ANSWERS | answers))
        given = {"inspector": "Ada", "key": key, "answers": tmp_path / "answers.json", "out": tmp_path / "records"}
        return tuple(word for name, value in given.items() for word in (f"--{name}", str(value)))

    return options


async def until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  other processes announce nothing to this loop
            await asyncio.sleep(0.005)


def steps(path: str) -> dict[str, str]:
    with open(path) as file:  # noqa: PTH123  a name out of the command's answer
        return {step["name"]: step["outcome"] for step in json.load(file)["record"]["steps"]}


async def test_good_node_is_accepted_and_its_record_holds(
    jig: Jig, words: Callable[..., tuple[str, ...]], andon: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    code, lines = await jig.accept(*words(), "--json")
    assert code == 0, lines
    done = json.loads(lines[-1])
    found = steps(done["record"])
    passed = {name for name, outcome in found.items() if outcome == "passed"}
    assert passed >= {"firmware", "configuration", "keys", "Wi-Fi", "gateway", "clock", "node"}
    assert passed >= {"relay/0", "relay/1", "temperature/0", "cycles/0", "input/0"}
    # The coils: relay 0 once on and off, relay 1 (no read-back) three times; both are where they are safe.
    assert (jig.registers.driven(COIL).level, jig.registers.driven(COIL_2).level) == (0, 1)
    record = json.loads(open(done["record"]).read())["record"]  # noqa: SIM115, PTH123, ASYNC230  a small file
    assert (record["node"], record["inspector"], record["accepted"]) == ("press-7", "Ada", True)
    assert "geheim" not in json.dumps(record)
    assert open(done["sheet"], "rb").read(5) == b"%PDF-"  # noqa: SIM115, PTH123, ASYNC230  same
    trusted = ("--verify", done["record"], "--public-key", tmp_path / "inspector.hex")
    assert andon("accept", *trusted)[0] == 0
    assert andon("accept", *trusted[:3], "00" * 32)[0] == 1
    code, text = andon("accept", *trusted[:2])
    assert code == 0
    assert "intact: press-7 accepted" in text
    assert "not known here" in text


async def test_bad_node_is_not_accepted_and_the_record_says_what_is_bad(
    jig: Jig, words: Callable[..., tuple[str, ...]], andon: Callable[..., tuple[int, str]]
) -> None:
    jig.contact_follows = False
    code, lines = await jig.accept(
        *words(wait_s=2, outputs={"relay/1": False}, pulses={"cycles/0": 5}), "--json", pulses=6, warm_raw=21 * 16 + 4
    )
    assert code == 1, lines
    done = json.loads(lines[-1])
    failed = {name for name, outcome in steps(done["record"]).items() if outcome == "failed"}
    assert failed == {"relay/0", "relay/1", "temperature/0", "cycles/0"}
    assert any("does not follow" in line for line in lines)
    assert any("6 counted, 5 given" in line for line in lines)
    code, text = andon("accept", "--verify", done["record"])
    assert code == 0
    assert "NOT accepted" in text


def test_nothing_is_driven_unless_somebody_says_that_it_is_safe() -> None:
    class Untouchable:
        """A stand-in for the board: the test is that it is not asked."""

        outputs = (Output(0, 0, COIL, read_back=True), Output(1, 1, COIL_2, read_back=False))

        def drive(self, output: Output) -> None:
            raise AssertionError(output)

    test = AcceptanceTest(Prepared({"isolated": False}), lambda _step: None)
    test.try_outputs(Untouchable())  # type: ignore[arg-type]  # it has what is used
    assert [(step.name, step.outcome) for step in test.steps] == [("relay/0", "failed"), ("relay/1", "failed")]


async def test_board_waits_for_a_person_longer_than_its_watchdog(jig: Jig) -> None:
    """Here with a watchdog of 6 s instead of two minutes; without the feeding the board restarts."""

    def wait() -> float:
        with BoardLink(jig.line.port) as link:
            board = BoardUnderTest(link)
            thermometer = next(sensor for sensor in board.sensors if sensor.kind == "temperature")
            resets = jig.board.resets
            link.run("_andon_watchdog = machine.WDT(timeout=6000)")
            with board.kept_waiting(every_s=0.3):
                time.sleep(9)
                found = board.look(thermometer).value
            # The session's own time again, for the restart at its end on a busy machine.
            link.run("_andon_watchdog = machine.WDT(timeout=60000)")
            assert jig.board.resets == resets
            return found

    assert await asyncio.to_thread(wait) == 21.0


async def test_person_who_leaves_ends_the_test_without_a_record(
    jig: Jig, words: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    """Nobody answers at the terminal (the end of its input, as Ctrl-C there): nothing was driven, the board is restarted."""
    before = jig.registers.driven(COIL).changes
    given = words()
    at_answers = given.index("--answers")
    process = await jig.start(*given[:at_answers], *given[at_answers + 2 :])
    resets = jig.board.resets
    assert await process.wait() == 130
    await until(lambda: jig.board.resets > resets)
    assert jig.registers.driven(COIL).changes == before
    assert not list((tmp_path / "records").glob("*"))


@pytest.mark.parametrize("how", ["Ctrl-C", "killed", "cable out"])
async def test_outputs_are_safe_after_any_abort(
    how: str, jig: Jig, words: Callable[..., tuple[str, ...]], tmp_path: Path
) -> None:
    """Relay 1 (safe: level 1) is on for half a second at a time; the abort comes in the middle of it."""
    process = await jig.start(*words())
    await until(lambda: jig.registers.driven(COIL).changes >= 2 and jig.registers.driven(COIL_2).level == 0)
    changes, resets = jig.registers.driven(COIL_2).changes, jig.board.resets
    if how == "Ctrl-C":
        process.send_signal(signal.SIGINT)
    elif how == "killed":
        process.kill()
    else:
        jig.line.close()
    status = await process.wait()
    assert status == {"Ctrl-C": 130, "killed": -signal.SIGKILL, "cable out": 2}[how]
    # At Ctrl-C the output goes back at once; without its tool the board ends by itself what it was told: three times on and off.
    more = 1 if how == "Ctrl-C" else 5
    await until(lambda: jig.registers.driven(COIL_2).changes >= changes + more)
    if how == "Ctrl-C":
        # Back at its work: restarted.
        await until(lambda: jig.board.resets > resets)
    assert (jig.registers.driven(COIL_2).changes, jig.registers.driven(COIL_2).level) == (changes + more, 1)
    assert jig.registers.driven(COIL).level == 0
    assert not list((tmp_path / "records").glob("*.json"))


def test_what_is_wrong_without_a_board_is_said_before_one_is_needed(
    andon: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    key = tmp_path / "key"
    make_key(key)
    for given, message in (
        ((), "name who tests"),
        (("--inspector", "Ada"), "name who tests"),
        (("--inspector", " ", "--key", key), "--inspector"),
        (("--inspector", "Ada", "--key", tmp_path / "none"), "--key"),
        (("--inspector", "Ada", "--key", key, "--answers", tmp_path / "none"), "--answers"),
        (("--inspector", "Ada", "--key", key, "--out", key), "--out"),
        (("--verify", tmp_path / "none.json"), "not good"),
    ):
        code, text = andon("accept", "--port", "/dev/ttyNO7", *given)
        assert code == (1 if "--verify" in given else 2)
        assert message in text
    # The person is at the terminal: the port is the next that can be wrong.
    code, text = andon("accept", "--port", "/dev/ttyNO7", "--inspector", "Ada", "--key", key, "--out", tmp_path)
    assert (code, "no such port" in text) == (2, True)
