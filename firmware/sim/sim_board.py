"""One emulated board: flash image, register file, boot.py, main.py (docs/emulation.md); started by board.py."""

import hashlib
import os
import sys

import machine
import registers
import vfs
from micropython import const

_BLOCK = const(4096)
_BLOCKS = const(512)

_USAGE = (
    "usage: board.py --flash FILE --registers FILE [--firmware DIR] [--hardware FILE] [--put LOCAL:REMOTE ...] "
    "[--uart N=PATH ...] [--repl]"
)
_NAMES = ("--flash", "--registers", "--firmware", "--hardware", "--put", "--uart")


class FlashImage:
    """The flash chip as a file: blocks are erased to ones and programmed in place, so a kill is a power cut."""

    def __init__(self, path):
        try:
            _host.stat(path)
        except OSError:
            with _host.open(path, "wb") as image:
                erased = b"\xff" * _BLOCK
                for _ in range(_BLOCKS):
                    image.write(erased)
        self._file = _host.open(path, "r+b")
        self._erased = b"\xff" * _BLOCK

    def readblocks(self, block, buffer, offset=0):
        """Read within a block."""
        self._file.seek(block * _BLOCK + offset)
        self._file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=None):
        """Program within a block, or erase and write whole blocks."""
        self._file.seek(block * _BLOCK + (offset or 0))
        self._file.write(buffer)

    def ioctl(self, operation, argument):
        """Answer littlefs: 4 number of blocks, 5 block size, 6 erase a block."""
        if operation == 4:
            return _BLOCKS
        if operation == 5:
            return _BLOCK
        if operation == 6:
            self._file.seek(argument * _BLOCK)
            self._file.write(self._erased)
        return 0


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


def _install(firmware):
    for name, kind, *_ in _host.ilistdir(firmware):
        # Packages only; sim/ stays outside: it is the board, not what runs on it.
        if kind == 0x4000 and name.startswith("andon_"):
            _copy_tree(firmware + "/" + name, _root + "/" + name)
    # main.py comes last: where it is, everything is.
    for name in ("boot.py", "main.py"):
        _copy(firmware + "/" + name, _root + "/" + name)


def _absolute(path):
    return path if path.startswith("/") else _start + "/" + path


def _arguments(words):
    options = {"--put": [], "--uart": [], "--repl": False}
    position = 0
    while position < len(words):
        if words[position] == "--repl":
            options["--repl"] = True
            position += 1
            continue
        if words[position] not in _NAMES or position + 1 >= len(words):
            raise SystemExit(_USAGE)
        if words[position] in ("--put", "--uart"):
            options[words[position]].append(words[position + 1])
        else:
            options[words[position]] = _absolute(words[position + 1])
        position += 2
    if not all(name in options for name in ("--flash", "--registers")):
        raise SystemExit(_USAGE)
    return options


def _mount(flash):
    image = FlashImage(flash)
    try:
        vfs.mount(vfs.VfsLfs2(image), _root or "/")
    except OSError:
        vfs.VfsLfs2.mkfs(image)
        vfs.mount(vfs.VfsLfs2(image), _root or "/")


def _leave_host():
    # What drives a REPL may name any path: nothing of the host may be within reach. The flash takes the host's place at "/",
    # as on an ESP32. The board's modules are loaded now if they live on the host; an image of them stays mounted.
    global _root
    if _sim != _IMAGE:
        for name, *_ in os.ilistdir(_sim):
            if name.endswith(".py") and name not in ("board.py", "sim_board.py"):
                try:
                    __import__(name[:-3])
                except Exception:
                    # A device that this board does not have; whoever asks for it meets the same error.
                    sys.modules.pop(name[:-3], None)
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


def _keep_cause(path):
    def keep(cause, mode=0):
        with _host.open(path, "w") as kept:
            kept.write("%d %d" % (cause, mode))

    return keep


def _map_rom(memory, flash):
    import sim_rom

    sim_rom.attach(memory, flash + ".romfs", _host)
    sys.modules["vfs"] = __import__("sim_vfs")


def start(options, memory):
    """Power the board up.

    Args:
        options: From the command line.
        memory: What the `romfs` partition is mapped into, None for a board without one.

    Returns:
        The function that keeps the cause of a reset, and the mode in which the REPL starts.
    """
    registers.attach(options["--registers"])
    for pair in options["--uart"]:
        number, _, path = pair.partition("=")
        machine.uarts[int(number)] = _host.open(_absolute(path), "r+b")
    if memory is not None:
        _map_rom(memory, options["--flash"])
    if options["--repl"]:
        _leave_host()
    _mount(options["--flash"])
    if "--firmware" in options and not _exists(_root + "/main.py"):
        _install(options["--firmware"])
    for pair in options["--put"]:
        local, _, remote = pair.partition(":")
        _copy(_absolute(local), _root + "/" + remote.lstrip("/"))
    cause_path = options["--flash"] + ".reset"
    board_id = hashlib.sha256(options["--flash"].encode()).digest()[:6]
    keep = _keep_cause(cause_path)
    cause, mode = _last_cause(cause_path)
    machine.power_on(cause, board_id, keep)
    machine.flash_image = options["--flash"], _host
    try:
        _host.stat(options["--flash"] + ".otadata")
    except OSError:
        pass
    else:
        # The bootloader has a choice to make.
        __import__("sim_partition")
    os.chdir(_root or "/")
    sys.path[:] = [_sim, "", ".frozen"]
    if options["--repl"]:
        sys.path[:] = ["", ".frozen", "/lib"]
        if _sim == _IMAGE:
            sys.path.append(_sim)
        sys.argv[:] = []
    return keep, mode


def serve_console(keep, mode):
    """Do what a board does after power-on or a soft reset: boot.py, main.py unless in raw mode, then the REPL."""
    import repl

    console = repl.Repl(mode, _BANNER % (sys.version.split("; ")[1], _MACHINE), machine.EXIT_RESET)
    # As in MicroPython's esp32/main.c: a boot.py that fails keeps main.py from running.
    ended = console.run_file("boot.py")
    if ended == repl.OK and mode == repl.FRIENDLY:
        ended = console.run_file("main.py")
    if ended != repl.FORCED_EXIT:
        console.serve()
    # As on a board, files left open are closed by their finalisers.
    console.forget()
    sys.stdout.write("MPY: soft reboot\r\n")
    keep(machine.SOFT_RESET, console.mode)
    sys.exit(machine.EXIT_RESET)


_MACHINE = const("Andon emulated board with ESP32")
_BANNER = const('%s; %s\r\nType "help()" for more information.\r\n')
# Where board.py mounts an image of the board's own modules.
_IMAGE = const("/sim")

# The host's files by themselves: they stay within the board's own reach when they are no longer mounted.
_host = vfs.VfsPosix("/")
_root = "/flash"
_start = ""
_sim = ""


def run(words, start_folder, sim, memory):
    """Run a board.

    Args:
        words: The command line.
        start_folder: What relative paths in it begin at.
        sim: Where the board's own modules come from.
        memory: See `start`.
    """
    global _start, _sim
    _start, _sim = start_folder, sim
    options = _arguments(words)
    keep, mode = start(options, memory)
    if options["--repl"]:
        serve_console(keep, mode)
    # As on a board, the two share their names.
    names = {"__name__": "__main__"}
    execfile("boot.py", names)
    execfile("main.py", names)
