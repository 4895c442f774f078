"""Applications in place: images in the `romfs` partition, made by `andon_base/rom.py` on the real VM, read by its own VfsRom."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from firmware.micropython_vm import LineVm
from mpremote.romfs import VfsRomWriter  # type: ignore[import-untyped]  # has no types

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Thirds of 16 blocks. The flash is the host's folder; the partition is the simulated chip's, whose power can be cut in a write.
SOURCE = """
import json, os, sys
import vfs
import sim_rom
os.chdir(sys.argv[1])
memory = memoryview(bytearray(3 * 16 * 4096))
sim_rom.attach(memory, sys.argv[1] + "/partition", vfs.VfsPosix("/"))
sys.modules["vfs"] = __import__("sim_vfs")
if sys.argv[2] == "stm32":
    import sim_stm32
    sim_stm32.enter()
from andon_base import rom
rom.print = lambda *words: sys.stderr.write("%s\\n" % (words,))
whole_write = sim_rom.RomPartition.writeblocks
state = {"writes": 0, "cut": 0}

def write(self, block, buffer, offset=0):
    state["writes"] += 1
    if state["writes"] == state["cut"]:
        whole_write(self, block, memoryview(buffer)[: len(buffer) // 2], offset)
        raise OSError(5)
    whole_write(self, block, buffer, offset)

sim_rom.RomPartition.writeblocks = write
whole_program = sim_rom._program

def program(at, data):
    state["writes"] += 1
    if state["writes"] == state["cut"]:
        whole_program(at, memoryview(data)[: len(data) // 2])
        return -5
    return whole_program(at, data)

sim_rom._program = program

def walk(path, found, root):
    for name, kind, *_ in os.ilistdir(path):
        if kind == 0x4000:
            walk(path + "/" + name, found, root)
        else:
            with open(path + "/" + name, "rb") as file:
                found[(path + "/" + name)[len(root) + 1 :]] = file.read().hex()

def answer(line):
    operation, argument = json.loads(line)
    if operation == "flip":
        memory[argument] ^= 0x10
        return "{}"
    if operation == "image":
        third = argument * 16 * 4096
        size = int.from_bytes(memory[third + 40 : third + 44], "little")
        return json.dumps(bytes(memory[third + 64 : third + 64 + size]).hex())
    folder, state["cut"], manifest = argument
    state["writes"] = 0
    path = rom.place(folder, manifest)
    found = {}
    if path != folder:
        walk(path, found, path)
        vfs.umount(path)
    return json.dumps({"path": path, "writes": state["writes"], "files": found})
"""
BLOCKS = 16


class Chip:
    """The VM with one flash folder."""

    def __init__(self, folder: Path, kind: str = "esp32") -> None:
        self.folder = folder
        self.vm = LineVm(SOURCE, str(folder), kind, sim=True)

    def ask(self, operation: str, argument: object) -> Any:
        return json.loads(self.vm.ask(json.dumps([operation, argument])))

    def place(self, folder: str, *, cut: int = 0, manifest: str | None = None) -> Any:
        """What a start does; `cut`: the power fails in the middle of so many-th write."""
        return self.ask("place", [folder, cut, manifest])

    def put(self, folder: str, files: dict[str, bytes]) -> dict[str, str]:
        for name, content in files.items():
            path = self.folder / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return {name: content.hex() for name, content in files.items()}


@pytest.fixture
def chip(tmp_path: Path) -> Iterator[Chip]:
    started = Chip(tmp_path)
    yield started
    started.vm.close()


@pytest.fixture
def stm32(tmp_path: Path) -> Iterator[Chip]:
    """Its flash is erased from the partition's start and then written once; it goes through `rom_ioctl`."""
    started = Chip(tmp_path, "stm32")
    yield started
    started.vm.close()


def application(seed: int) -> dict[str, bytes]:
    """Files around the sizes at which the format's numbers need another byte, in folders within folders."""
    rng = random.Random(seed)
    sizes = [1, 126, 127, 128, 129, 4096, 16383, 16384]
    names = [
        "andon_node/__init__",
        "andon_node/a",
        "andon_node/net/link",
        "andon_node/net/deep/er",
        "andon_node/z_" + 120 * "n",
    ]
    names += [f"andon_node/part{number}" for number in range(len(sizes) - len(names))]
    return {f"{name}.mpy": rng.randbytes(size) for name, size in zip(names, sizes, strict=True)}


def by_mpremote(files: dict[str, bytes]) -> bytes:
    """The same files as mpremote would deploy them."""
    writer = VfsRomWriter()
    tree: dict[str, Any] = {}
    for name, content in files.items():
        *folders, file = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[file] = content

    def add(node: dict[str, Any]) -> None:
        for name, content in sorted(node.items()):
            if isinstance(content, dict):
                writer.opendir(name)
                add(content)
                writer.closedir()
            else:
                writer.mkfile(name, content)

    add(tree)
    return bytes(writer.finalise())


@pytest.mark.parametrize("seed", range(3))
def test_image_is_the_one_that_mpremote_makes(chip: Chip, seed: int) -> None:
    files = application(seed)
    chip.put("app_a", files)
    assert chip.place("app_a")["path"] == "/app"
    image, expected = bytes.fromhex(chip.ask("image", 1)), by_mpremote(files)
    # mpremote may lengthen the head by a byte of padding.
    head = len(expected) - (len(image) - 3 - 3)
    assert image[:3] == expected[:3]
    assert image[6:] == expected[head:]


def test_every_folder_has_a_place_of_its_own_and_is_written_once(chip: Chip) -> None:
    contents = {folder: chip.put(folder, application(seed)) for seed, folder in enumerate(["", "app_a", "app_b"])}
    first = {folder: chip.place(folder) for folder in contents}
    again = {folder: chip.place(folder) for folder in contents}
    assert {folder: placed["path"] for folder, placed in first.items()} == {
        "": "/base",
        "app_a": "/app",
        "app_b": "/app",
    }
    assert {folder: placed["files"] for folder, placed in again.items()} == contents
    assert all(placed["writes"] for placed in first.values())
    assert not any(placed["writes"] for placed in again.values())


def test_power_cut_in_any_write_leaves_the_files_and_the_next_start_repairs(chip: Chip) -> None:
    content = chip.put("app_a", application(1))
    writes = chip.place("app_a")["writes"]
    assert writes > 8
    for cut in range(1, writes + 1):
        # Another content each time: the image that is there is of no use.
        content |= chip.put("app_a", {"andon_node/a.mpy": b"%d" % cut})
        assert chip.place("app_a", cut=cut)["path"] == "app_a"
        repaired = chip.place("app_a")
        assert (repaired["path"], repaired["files"]) == ("/app", content)


def test_flipped_bit_is_noticed_and_the_image_made_anew(chip: Chip) -> None:
    content = chip.put("app_b", application(2))
    chip.place("app_b")
    third = 2 * BLOCKS * 4096
    for offset in (0, 8, 41, 64, 5000, 30000):
        chip.ask("flip", third + offset)
        placed = chip.place("app_b")
        assert placed["writes"] > 0
        assert placed["files"] == content


def test_manifest_stands_for_the_content(chip: Chip) -> None:
    chip.put("app_a", {**application(1), "manifest": b"version 1"})
    assert chip.place("app_a", manifest="app_a/manifest")["writes"] > 0
    assert chip.place("app_a", manifest="app_a/manifest")["writes"] == 0
    content = chip.put("app_a", {"andon_node/a.mpy": b"new"})
    chip.put("app_a", {"manifest": b"version 2"})
    placed = chip.place("app_a", manifest="app_a/manifest")
    assert placed["files"]["andon_node/a.mpy"] == content["andon_node/a.mpy"]


def test_too_large_or_not_compiled_runs_from_its_folder(chip: Chip) -> None:
    chip.put("app_a", {"andon_node/huge.mpy": bytes(BLOCKS * 4096)})
    chip.put("app_b", {"andon_node/source.py": b"x = 1"})
    assert chip.place("app_a")["path"] == "app_a"
    assert chip.place("app_b")["path"] == "app_b"
    assert chip.place("") == {"path": "", "writes": 0, "files": {}}


def test_stm32_runs_its_base_in_place_and_slots_from_files(stm32: Chip) -> None:
    content = stm32.put("", application(1))
    stm32.put("app_a", application(2))
    first, again = stm32.place(""), stm32.place("")
    assert (first["path"], first["files"]) == ("/base", content)
    assert first["writes"] > 0
    assert again == {**first, "writes": 0}
    # There is one place: a slot's image would cost the base's.
    assert stm32.place("app_a") == {"path": "app_a", "writes": 0, "files": {}}


def test_stm32_power_cut_in_any_write_leaves_the_files_and_the_next_start_repairs(stm32: Chip) -> None:
    content = stm32.put("", application(1))
    writes = stm32.place("")["writes"]
    assert writes > 8
    for cut in range(1, writes + 1):
        content |= stm32.put("", {"andon_node/a.mpy": b"%d" % cut})
        assert stm32.place("", cut=cut)["path"] == ""
        repaired = stm32.place("")
        assert (repaired["path"], repaired["files"]) == ("/base", content)
