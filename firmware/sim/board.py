"""Start one emulated board: give it memory that is not its heap, then run `sim_board.py` (docs/emulation.md)."""

import gc
import os
import sys

import uctypes
import vfs

# The `romfs` partition, then the board's own modules.
_PARTITION = 524288
_HARDWARE = 262144
# Depth in the stack's reserve at which they begin. MicroPython keeps its own use of the stack below 80 KiB.
_DEPTH = 4194304


def _mapped_memory():
    """Memory outside the heap, as a chip's mapped flash is; None where the host has no way to it.

    The unix port cannot map files. But a process's stack has a reserve (8 MiB by default), which Linux fills with pages
    as they are touched. Memory so far down is never reached by the stack and not looked at by the garbage collector.
    """
    try:
        with open("/proc/self/limits") as limits:
            size = next(line.split()[3] for line in limits if line.startswith("Max stack size"))
        with open("/proc/self/stat") as stat:
            top = int(stat.read().rsplit(")", 1)[1].split()[25])
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    if not top or (size != "unlimited" and int(size) < _DEPTH + 65536):
        return None
    return uctypes.bytearray_at(top - _DEPTH & ~4095, _PARTITION + _HARDWARE)


def _folder():
    path = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
    return path if path.startswith("/") else _START + "/" + path


def _hardware(memory):
    """Mount the board's own modules in mapped memory (`--hardware FILE`); None where they are the sources beside this file."""
    if memory is None or "--hardware" not in sys.argv[:-1]:
        return None
    memory = memoryview(memory)[_PARTITION:]
    with open(sys.argv[sys.argv.index("--hardware") + 1], "rb") as file:
        image = vfs.VfsRom(memory[: file.readinto(memory)])
    vfs.mount(image, "/sim")
    return image


def _power_up():
    """Return the mode in which the board's REPL starts, None for a board without one."""
    memory = _mapped_memory()
    image = _hardware(memory)
    sys.path[:] = [_folder() if image is None else "/sim", ".frozen"]
    rom = None if memory is None else memoryview(memory)[:_PARTITION]
    mode = __import__("sim_board").power_up(sys.argv[1:], _START, sys.path[0], rom, image)
    # What powers a board up is not there on a real one.
    del sys.modules["sim_board"]
    return mode


_START = os.getcwd()
_mode = _power_up()
gc.collect()
if _mode is not None:
    __import__("repl").serve(_mode)
execfile("boot.py")
execfile("main.py")
