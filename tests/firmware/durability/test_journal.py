"""The journal: what was appended is there after any cut, once and in order; what is lost is counted."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from firmware.oscore.vm import board_command, board_environment
from hypothesis import given, settings
from hypothesis import strategies as st

HERE = Path(__file__).resolve().parent
LIMIT_S = 60
HEADER = 46


def run(script: str, *arguments: object, heap: str = "4m") -> Any:
    """Run a script on the VM; its last line is JSON."""
    result = subprocess.run(
        board_command(HERE / script, *map(str, arguments), heap=heap),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env=board_environment(),
    )
    assert result.returncode == 0, result.stderr + result.stdout
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("seed", "quota"),
    [(1, 32768), (2, 65536), pytest.param(3, 262144, id="quota-larger-than-the-flash")],
)
def test_every_pack_is_there_exactly_once_and_in_order_after_power_cuts(seed: int, quota: int) -> None:
    """Torn writes and erasures at random places of littlefs, a hundred times each."""
    report = run("board_journal.py", seed, 100, quota, heap="16m")
    assert report["faults"] == []
    assert report["cuts"] == 100
    # What was settled just before a cut may be dropped at the quota once more: declared rather too much than too little.
    assert report["taken"] == report["settled"] + report["dropped"] - report["overcounted"] + report["waiting"]
    assert report["overcounted"] <= report["dropped"] / 20
    assert report["resent"] < report["settled"] / 10


def test_killed_vm_loses_nothing_that_was_appended(tmp_path: Path) -> None:
    image = tmp_path / "flash.img"
    dice = random.Random(5)
    waiting: list[tuple[int, int]] = []
    settled: list[tuple[int, int]] = []
    for _ in range(10):
        process = subprocess.Popen(
            board_command(HERE / "board_tool.py", "endless", str(image), heap="256k"),
            stdout=subprocess.PIPE,
            text=True,
            env=board_environment(),
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(dice.randrange(20, 120))]
        process.kill()
        lines += process.stdout.readlines()
        process.stdout.close()
        process.wait(10)
        for line in lines:
            # A killed process may leave its last line short.
            if line.endswith("\n"):
                what, boot, seq = line.split()
                if what == "saved":
                    waiting.append((int(boot), int(seq)))
                else:
                    settled.append((int(boot), int(seq)))
    assert len(waiting) > 100
    left = run("board_tool.py", "drain", image, heap="16m")
    found = [(boot, seq) for boot, seq, _ in left["packs"]]
    assert found == sorted(set(found))
    assert all(bytes.fromhex(body)[:16] == b"%08d%08d" % (boot, seq) for boot, seq, body in left["packs"])
    # Settled ones may come again; none that was saved and not settled may be missing, but for the oldest where a quick machine
    # wrote on past the quota before it was killed: those are declared.
    lost = set(waiting) - set(settled) - set(found)
    assert len(lost) <= left["dropped"]
    assert not lost or max(lost) < min(found)
    assert settled[0] not in found


def records(segment: bytes) -> list[tuple[int, int]]:
    """Start and end of each record, by the format in journal.py's docstring."""
    spans = []
    at = 0
    while at < len(segment):
        (length,) = struct.unpack_from("<H", segment, at + 4)
        spans.append((at, at + HEADER + length))
        at += HEADER + length
    return spans


damage = st.tuples(
    st.sampled_from(["flip", "truncate", "garbage"]), st.floats(0, 1, exclude_max=True), st.integers(0, 7)
)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 900), min_size=1, max_size=40), hits=st.lists(damage, max_size=4))
def test_flipped_and_torn_bytes_never_stop_a_start(sizes: list[int], hits: list[tuple[str, float, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run("board_tool.py", "fill", folder, 65536, ",".join(map(str, sizes)))
        spans: list[tuple[Path, int, int]] = []
        for path in sorted(Path(folder).iterdir()):
            spans += [(path, start, end) for start, end in records(path.read_bytes())]
        assert len(spans) == len(sizes)
        damaged: set[int] = set()
        for kind, where, bit in hits:
            number = int(where * len(spans))
            path, start, end = spans[number]
            content = bytearray(path.read_bytes())
            if end > len(content):
                continue  # cut off by an earlier hit
            if kind == "flip":
                content[start + int(where * 7919) % (end - start)] ^= 1 << bit
                damaged.add(number)
            elif kind == "truncate":
                # The end of the newest segment only: what a torn write leaves.
                path, start, end = spans[-1]
                content = bytearray(path.read_bytes())[: end - 1 - bit]
                damaged.add(len(spans) - 1)
            else:
                path = spans[-1][0]
                content = bytearray(path.read_bytes()) + bytes([bit]) * 50
            path.write_bytes(content)
        left = run("board_tool.py", "read", folder, 65536)
    whole = [seq for seq in range(len(sizes)) if seq not in damaged]
    found = [(seq, bytes.fromhex(body)) for _, seq, body in left["packs"]]
    # Two flips may undo each other; nothing else brings a damaged record back.
    assert [seq for seq, _ in found if seq not in damaged] == whole
    assert all(body == bytes([seq & 0xFF]) * sizes[seq] for seq, body in found)
    lost = len(sizes) - len(found)
    assert left["left"] == 0
    tail_damaged = any(kind == "garbage" for kind, _, _ in hits) or len(sizes) - 1 in damaged
    # How many records there were in damaged bytes at the very end cannot be known; at least one is counted.
    assert left["dropped"] == lost or (tail_damaged and left["dropped"] >= min(lost, 1))


@settings(max_examples=10, deadline=None)
@given(content=st.binary(max_size=300), name=st.sampled_from(["00000000", "00000003", "ffffffff", "x", "1.new"]))
def test_strange_files_never_stop_a_start(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        run("board_tool.py", "read", folder, 65536)


def test_a_long_outage_drops_the_oldest_at_the_quota_and_counts_them(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    quota = 65536
    count = 2000
    filled = run("board_tool.py", "fill", folder, quota, f"100*{count}", heap="16m")
    assert filled["dropped"] > 0
    assert filled["dropped"] + filled["waiting"] == count
    blocks = sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.iterdir())
    assert 0.8 * quota < blocks <= quota
    left = run("board_tool.py", "read", folder, quota)
    assert [seq for _, seq, _ in left["packs"]] == list(range(filled["dropped"], count))
    assert left["dropped"] == filled["dropped"]


def test_wear_is_what_the_documentation_says() -> None:
    """docs/firmware.md: about 1.1 erasures and 2.5 kB programmed for each write."""
    wear = run("board_tool.py", "wear", 2000, 120, heap="16m")
    assert wear["erased"] < 1.25
    assert wear["programmed"] < 3000
