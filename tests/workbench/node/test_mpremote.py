"""The real, unmodified mpremote against the emulated board: it does there what it does on hardware."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
import serial
from workbench.node.conftest import MPREMOTE, Bench

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(400)

MAIN = """\
import asyncio
print("main runs")
async def tick():
    while True:
        await asyncio.sleep_ms(20)
asyncio.run(tick())
"""


def read_until(line: serial.Serial, mark: bytes, limit_s: float = 60) -> bytes:
    end = time.monotonic() + limit_s
    heard = b""
    while mark not in heard:
        assert time.monotonic() < end, heard
        heard += line.read(line.in_waiting or 1)
    return heard


@pytest.fixture
def console(bench: Bench) -> serial.Serial:
    return serial.Serial(bench.port, 115200, timeout=0.2, exclusive=True)


def test_blank_board_has_an_empty_root(own_bench: Bench) -> None:
    assert own_bench.mpremote("fs", "ls", ":").split() == ["ls", ":"]


def test_copy_there_and_back(bench: Bench, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20
    (tmp_path / "there.bin").write_bytes(data)
    bench.mpremote("cp", str(tmp_path / "there.bin"), ":x.bin")
    assert "x.bin" in bench.mpremote("fs", "ls")
    assert hashlib.sha256(data).hexdigest() in bench.mpremote("fs", "sha256sum", "x.bin")
    bench.mpremote("cp", ":/x.bin", str(tmp_path / "back.bin"))
    assert (tmp_path / "back.bin").read_bytes() == data
    bench.mpremote("fs", "rm", ":x.bin")
    assert "x.bin" not in bench.mpremote("fs", "ls", ":/")


def test_folders(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "pkg/deep").mkdir(parents=True)
    (tmp_path / "pkg/deep/m.py").write_text("X = 1\n")
    bench.mpremote("cp", "-r", str(tmp_path / "pkg"), ":")
    assert "m.py" in bench.mpremote("fs", "tree", ":pkg")
    assert bench.mpremote("exec", "from pkg.deep import m; print(m.X)").strip() == "1"
    bench.mpremote("fs", "rm", "-r", ":pkg")
    assert "pkg" not in bench.mpremote("fs", "ls")


def test_nothing_of_the_host_is_within_reach(bench: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "host"
    secret.write_text("of the host")
    code = f"import os\ntry:\n os.stat({str(secret)!r})\nexcept OSError as e: print(e.errno)"
    assert bench.mpremote("exec", code).strip() == "2"
    names = bench.mpremote("exec", "import os; print(os.getcwd(), sorted(os.listdir('/')))")
    assert "usr" not in names
    assert names.startswith("/ ")


def test_exec_separates_output_and_traceback(bench: Bench) -> None:
    assert bench.mpremote("exec", "print('a'); print('b')") == "a\nb\n"
    done = subprocess.run(
        [MPREMOTE, "connect", bench.port, "exec", "print('out')\n1/0"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "out",
        "Traceback (most recent call last):",
        '  File "<stdin>", line 2, in <module>',
        "ZeroDivisionError: divide by zero",
    ]


def test_run_a_long_script_in_raw_paste_mode(bench: Bench, tmp_path: Path) -> None:
    script = tmp_path / "long.py"
    script.write_text("".join(f"x{number} = {number}\n" for number in range(800)) + "print('sum', x1 + x799)\n")
    assert script.stat().st_size > 8192
    assert bench.mpremote("run", str(script)) == "sum 800\n"


def test_mip_installs_from_a_local_folder(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("X = 7\n")
    package = tmp_path / "package.json"
    package.write_text(json.dumps({"urls": [["hello/__init__.py", "./hello.py"]], "version": "1"}))
    bench.mpremote("mip", "install", str(package))
    assert bench.mpremote("exec", "import hello; print(hello.__file__, hello.X)").strip() == "/lib/hello/__init__.py 7"
    bench.mpremote("fs", "rm", "-r", ":lib")


def test_mount_runs_modules_of_the_host(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "over.py").write_text("X = 9\n")
    assert bench.mpremote("mount", str(tmp_path), "exec", "import over; print(over.X)").split()[-1] == "9"


def test_mount_carries_every_byte_that_means_something_to_a_console(bench: Bench, tmp_path: Path) -> None:
    """Ctrl-C in what a program reads from the console interrupts it, unless it asked `micropython.kbd_intr` not to."""
    module = tmp_path / "controls.py"
    module.write_bytes(b"X = b'" + bytes(set(range(128)) - set(b"\r\n\\'\0")) + b"'\n")
    os.utime(module, (0x03020104, 0x04030201))
    assert (
        bench.mpremote("mount", str(tmp_path), "exec", "import controls; print(len(controls.X))").split()[-1] == "123"
    )


def test_soft_reset_clears_memory_and_keeps_the_flash(bench: Bench) -> None:
    bench.mpremote("exec", "kept = 1\nopen('flag.txt', 'w').write('here')")
    assert bench.mpremote("resume", "exec", "print('kept' in globals())").strip() == "True"
    assert bench.mpremote("soft-reset", "exec", "print('kept' in globals())").strip() == "False"
    code = "import machine; print(open('flag.txt').read(), machine.reset_cause() == machine.SOFT_RESET)"
    assert bench.mpremote("exec", code).strip() == "here True"
    bench.mpremote("fs", "rm", ":flag.txt")


def test_ctrl_c_interrupts_asyncio_and_ctrl_d_starts_main_again(
    bench: Bench, console: serial.Serial, tmp_path: Path
) -> None:
    with console:
        console.write(b"\r\x03")
        read_until(console, b">>> ")
    (tmp_path / "main.py").write_text(MAIN)
    (tmp_path / "boot.py").write_text("print('boot runs')\n")
    bench.mpremote("cp", str(tmp_path / "main.py"), str(tmp_path / "boot.py"), ":")
    with serial.Serial(bench.port, 115200, timeout=0.2, exclusive=True) as line:
        line.write(b"\r\x04")
        heard = read_until(line, b"main runs\r\n")
        assert heard.index(b"MPY: soft reboot\r\n") < heard.index(b"boot runs\r\n")
        line.write(b"\x03")
        heard = read_until(line, b">>> ")
        assert b"KeyboardInterrupt" in heard
        assert b"MicroPython" in heard
        line.write(b"1 + 2\r")
        assert b"\r\n3\r\n" in read_until(line, b"3\r\n>>> ")
        line.write(b"for i in range(2):\r  print(i)\r\r")
        read_until(line, b"0\r\n1\r\n>>> ")
        line.write(b"\x05if 1:\r  print(8)\r\x04")
        read_until(line, b"8\r\n>>> ")
        line.write(b"import sys; sys.exit()\r")
        read_until(line, b"main runs\r\n")
        line.write(b"\x03")
        read_until(line, b">>> ")
        # In raw mode main.py is not run (docs.micropython.org, "Soft reset").
        line.write(b"\x01\x04")
        heard = read_until(line, b"CTRL-B to exit\r\n>")
        heard += read_until(line, b"CTRL-B to exit\r\n>")
        assert b"boot runs" in heard
        assert b"main runs" not in heard
        line.write(b"\x02")
        read_until(line, b">>> ")
    bench.mpremote("fs", "rm", ":main.py", ":boot.py")


def test_raw_repl_answers_as_documented(console: serial.Serial) -> None:
    """docs.micropython.org, "Interactive interpreter mode", raw mode and raw-paste mode."""
    with console as line:
        line.write(b"\r\x03\x02")
        read_until(line, b"information.\r\n>>> ")
        line.write(b"\x01")
        read_until(line, b"raw REPL; CTRL-B to exit\r\n>")
        line.write(b"print(1)\x04")
        assert read_until(line, b"\x04\x04>") == b"OK1\r\n\x04\x04>"
        line.write(b"\x05Z\x01")
        assert read_until(line, b">") == b"R\x00>"
        line.write(b"\x05A\x01")
        assert read_until(line, b"R\x01\x80\x00\x01") == b"R\x01\x80\x00\x01"
        line.write(b"#" * 127 + b"\n")
        assert read_until(line, b"\x01") == b"\x01"
        line.write(b"print(2)\x04")
        assert read_until(line, b"\x04\x04>") == b"\x042\r\n\x04\x04>"
        line.write(b"half a line\x03print(3)\x04")
        assert read_until(line, b"\x04\x04>") == b"OK3\r\n\x04\x04>"
        line.write(b"\x05A\x01")
        read_until(line, b"R\x01\x80\x00\x01")
        line.write(b"while\x03")
        assert b"KeyboardInterrupt" in read_until(line, b"\x04>")
        line.write(b"\x02")
        read_until(line, b">>> ")


def test_bare_loop_is_interrupted_too(bench: Bench) -> None:
    command = [str(MPREMOTE), "connect", bench.port, "exec", "print('in')\nwhile True: pass"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as busy:
        assert busy.stdout is not None
        first = busy.stdout.readline()
        busy.kill()
    assert first.strip() == "in"
    assert bench.mpremote("exec", "print('back')") == "back\n"


def test_hard_reset_keeps_the_port(bench: Bench) -> None:
    bench.mpremote("exec", "import builtins; builtins.before_reset = True")
    bench.mpremote("resume", "reset")
    deadline = time.monotonic() + 90
    while True:
        # mpremote leaves 100 ms before the reset and waits for ever for an answer that the reset has cut off: ask again, as a person would.
        with contextlib.suppress(subprocess.TimeoutExpired, AssertionError):
            told = bench.mpremote("resume", "exec", "print('before_reset' in dir(__import__('builtins')))", timeout=15)
            if told.strip() == "False":
                return
        assert time.monotonic() < deadline, "the board was not reset"
