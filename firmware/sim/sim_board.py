"""One emulated board: flash image, register file, boot.py, main.py (docs/emulation.md); started by board.py."""

import hashlib
import os
import sys

import machine
import registers
import sim_flash
import sim_parts
import vfs

_USAGE = (
    "usage: board.py --flash FILE --registers FILE [--firmware DIR] [--hardware FILE] [--put LOCAL:REMOTE ...] "
    "[--replace LOCAL:REMOTE ...] [--uart N=PATH ...] [--chip esp32|stm32] [--repl]"
)
_NAMES = ("--flash", "--registers", "--firmware", "--hardware", "--put", "--replace", "--uart", "--chip")

_STARTERS = ("board.py", "sim_board.py")
# What a board's firmware imports by these names.
_IMPORTED = ("esp32", "network", "onewire", "ds18x20", "repl")

# The host's files by themselves: they stay within the board's own reach when they are no longer mounted.
_host = vfs.VfsPosix("/")
_root = "/flash"
_start = ""
_sim = ""
_image = None


def _exists(path):
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def _copy(source, target):
    with _host.open(source, "rb") as reader, open(target, "wb") as writer:
        buffer = bytearray(512)
        while True:
            size = reader.readinto(buffer)
            if not size:
                return
            writer.write(memoryview(buffer)[:size])


def _copy_tree(source, target):
    if not _exists(target):
        os.mkdir(target)
    for name, kind, *_ in _host.ilistdir(source):
        if name.startswith((".", "__pycache__")):
            continue
        if kind == 0x4000:
            _copy_tree(source + "/" + name, target + "/" + name)
        elif name.endswith((".py", ".mpy")):
            _copy(source + "/" + name, target + "/" + name)


def _place(source, name):
    target = _root + "/" + name
    # A power cut leaves the file as it was, or the new one.
    _copy(source, target + ".new")
    os.rename(target + ".new", target)


def _equip(options):
    """Give a board that has never run what it leaves the factory with; what is on the flash of any other is its own."""
    if _exists(_root + "/main.py"):
        return
    for local, remote in options["--put"]:
        if not _exists(_root + "/" + remote):
            _place(local, remote)
    if "--firmware" in options:
        _install(options["--firmware"])


def _install(firmware):
    for name, kind, *_ in _host.ilistdir(firmware):
        # Packages only; sim/ stays outside: it is the board, not what runs on it.
        if kind == 0x4000 and name.startswith("andon_"):
            _copy_tree(firmware + "/" + name, _root + "/" + name)
    # main.py comes last: where it is, everything is.
    for name in ("boot.py", "main.py"):
        _place(firmware + "/" + name, name)


def _absolute(path):
    return path if path.startswith("/") else _start + "/" + path


def _arguments(words):
    options = {"--put": [], "--replace": [], "--uart": [], "--repl": False, "--chip": "esp32"}
    position = 0
    while position < len(words):
        if words[position] == "--repl":
            options["--repl"] = True
            position += 1
            continue
        if words[position] not in _NAMES or position + 1 >= len(words):
            raise SystemExit(_USAGE)
        if words[position] == "--uart":
            options["--uart"].append(words[position + 1])
        elif words[position] in ("--put", "--replace"):
            local, _, remote = words[position + 1].partition(":")
            options[words[position]].append((_absolute(local), remote.lstrip("/")))
        elif words[position] == "--chip":
            options["--chip"] = words[position + 1]
        else:
            options[words[position]] = _absolute(words[position + 1])
        position += 2
    if not all(name in options for name in ("--flash", "--registers")):
        raise SystemExit(_USAGE)
    return options


def _mount(flash):
    image = sim_flash.FlashImage(flash, _host)
    try:
        vfs.mount(vfs.VfsLfs2(image), _root or "/")
    except OSError:
        vfs.VfsLfs2.mkfs(image)
        vfs.mount(vfs.VfsLfs2(image), _root or "/")


def _leave_host():
    # What drives a REPL may name any path: nothing of the host may be within reach, nor the board's own modules. The flash
    # takes the host's place at "/", as on an ESP32.
    global _root
    if _image is None:
        wanted = [name[:-3] for name, *_ in os.ilistdir(_sim) if name.endswith(".py") and name not in _STARTERS]
    else:
        # The others come through sim_parts.
        wanted = _IMPORTED
    for name in wanted:
        try:
            __import__(name)
        except Exception:
            # A device that this board does not have; whoever asks for it meets the same error.
            sys.modules.pop(name, None)
    if _image is not None:
        vfs.umount(sim_parts.PLACE)
        sim_parts.hidden = _image
    vfs.umount("/")
    _root = ""


def _last_cause(path):
    # The cause of a reset outlives it in a file beside the flash image, and so does the mode of the REPL that asked for
    # it; a killed process leaves none: power-on.
    try:
        with _host.open(path, "r") as kept:
            cause, mode = kept.read().split()
        _host.remove(path)
        return int(cause), int(mode)
    except (OSError, ValueError):
        return machine.PWRON_RESET, 0


def _map_rom(memory, flash):
    import sim_rom

    sim_rom.attach(memory, flash + ".romfs", _host)
    sys.modules["vfs"] = __import__("sim_vfs")


def _boot_image(choice):
    try:
        _host.stat(choice)
    except OSError:
        return
    # The bootloader has a choice to make.
    __import__("sim_partition")


def power_up(words, start, sim, memory, image):
    """Make the board ready to run boot.py.

    Args:
        words: The command line.
        start: What relative paths in it begin at.
        sim: Where the board's own modules come from.
        memory: What the `romfs` partition is mapped into, None for a board without one.
        image: The file system of the board's own modules; None when they are files of the host.

    Returns:
        The mode in which the board's REPL starts, None for a board without one.
    """
    global _start, _sim, _image, _root
    _start, _sim, _image = start, sim, image
    options = _arguments(words)
    registers.attach(options["--registers"])
    for pair in options["--uart"]:
        number, _, path = pair.partition("=")
        machine.uarts[int(number)] = _host.open(_absolute(path), "r+b")
    if options["--chip"] == "stm32":
        __import__("sim_stm32").enter()
    elif memory is not None:
        _map_rom(memory, options["--flash"])
    if options["--repl"]:
        _leave_host()
    if options["--chip"] == "stm32":
        # Flash has a folder of its own there, and "/" holds nothing else.
        _root = "/flash"
    _mount(options["--flash"])
    _equip(options)
    for local, remote in options["--replace"]:
        _place(local, remote)
    machine.flash_image = options["--flash"], _host
    cause, mode = _last_cause(options["--flash"] + ".reset")
    machine.power_on(cause, hashlib.sha256(options["--flash"].encode()).digest()[:6])
    _boot_image(options["--flash"] + ".otadata")
    os.chdir(_root or "/")
    sys.path[:] = [_sim, "", ".frozen"]
    if not options["--repl"]:
        return None
    sys.path[:] = ["", ".frozen", _root + "/lib"]
    sys.argv[:] = []
    return mode
