from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from andon_workbench.errors import ComponentError
from andon_workbench.processes import ChildProcess, Command

Until = Callable[[Callable[[], bool]], Awaitable[None]]


def python(script: str) -> Command:
    return Command([sys.executable, "-c", textwrap.dedent(script)])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_ready_line_gives_its_pairs(tmp_path: Path) -> None:
    script = """
        import time
        print("starting", flush=True)
        print("ready coap=127.0.0.1:5683 http=127.0.0.1:9000", flush=True)
        time.sleep(60)
    """
    child = await ChildProcess.start("gateway", python(script), tmp_path / "log")
    assert await child.ready(60) == {"coap": "127.0.0.1:5683", "http": "127.0.0.1:9000"}
    assert child.running
    assert await child.stop() == -signal.SIGTERM
    assert (tmp_path / "log").read_text().splitlines()[0] == "starting"


async def test_early_end_shows_the_end_of_the_log(tmp_path: Path) -> None:
    child = await ChildProcess.start("cloud", python("raise SystemExit('port: taken')"), tmp_path / "log")
    with pytest.raises(ComponentError, match=r"cloud: ended with status 1 before it was ready; log .*: port: taken"):
        await child.ready(60)


async def test_silence_is_an_error_after_the_limit(tmp_path: Path) -> None:
    child = await ChildProcess.start("cloud", python("import time; time.sleep(60)"), tmp_path / "log")
    with pytest.raises(ComponentError, match=r"not ready after 0\.2 s"):
        await child.ready(0.2)
    await child.kill()
    assert not child.running


async def test_missing_program_is_a_component_error(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match="cannot start"):
        await ChildProcess.start("gateway", Command([tmp_path / "nothing"]), tmp_path / "log")


async def test_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    script = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ready a=b", flush=True)
        time.sleep(60)
    """
    child = await ChildProcess.start("deaf", python(script), tmp_path / "log")
    await child.ready(60)
    assert await child.stop(grace_s=0.2) == -signal.SIGKILL


async def test_kill_takes_the_whole_group(tmp_path: Path, until: Until) -> None:
    script = """
        import subprocess, sys, time
        grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(f"ready pid={grandchild.pid}", flush=True)
        time.sleep(60)
    """
    child = await ChildProcess.start("parent", python(script), tmp_path / "log")
    grandchild = int((await child.ready(60))["pid"])
    assert alive(grandchild)
    await child.kill()
    await until(lambda: not alive(grandchild))


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
async def test_children_die_with_a_killed_workbench(tmp_path: Path, until: Until) -> None:
    script = f"""
        import asyncio, sys
        from pathlib import Path
        from andon_workbench.processes import ChildProcess, Command

        async def main():
            sleeper = Command([sys.executable, "-c", "import time; time.sleep(60)"])
            child = await ChildProcess.start("child", sleeper, Path({str(tmp_path / "log")!r}))
            print(child.pid, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", textwrap.dedent(script), stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert alive(child)
    parent.kill()
    await parent.wait()
    await until(lambda: not alive(child))
