"""Start one emulated board: flash image, register file, boot.py, main.py (docs/emulation.md)."""

import os
import sys

_BLOCK = 4096
_BLOCKS = 512

_USAGE = "usage: board.py --flash FILE --registers FILE [--firmware DIR] [--put LOCAL:REMOTE ...] [--uart N=PATH ...] [--chip esp32|stm32] [--repl]"


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
    return path if path.startswith("/") else os.getcwd() + "/" + path


def _from_start(path):
    return path if path.startswith("/") else _START + "/" + path


def _arguments(words):
    options = {"--put": [], "--uart": [], "--repl": False, "--chip": "esp32"}
    position = 0
    while position < len(words):
        if words[position] == "--repl":
            options["--repl"] = True
            position += 1
            continue
        if words[position] not in (
            "--flash",
            "--registers",
            "--firmware",
            "--put",
            "--uart",
            "--chip",
        ) or position + 1 >= len(words):
            raise SystemExit(_USAGE)
        if words[position] in ("--put", "--uart"):
            options[words[position]].append(words[position + 1])
        elif words[position] == "--chip":
            options["--chip"] = words[position + 1]
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
    # What drives a REPL may name any path: nothing of the host may be within reach. The board's modules, which live on
    # the host, are therefore loaded now, and the flash takes the host's place at "/", as on an ESP32.
    global _root
    for name, *_ in os.ilistdir(_SIM):
        if name.endswith(".py") and name != "board.py":
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


def start(options):
    """Power the board up.

    Returns:
        The function that keeps the cause of a reset, and the mode in which the REPL starts.
    """
    global _root
    registers.attach(options["--registers"])
    for pair in options["--uart"]:
        number, _, path = pair.partition("=")
        machine.uarts[int(number)] = _host.open(_from_start(path), "r+b")
    if options["--chip"] == "stm32":
        __import__("sim_stm32").enter()
    if options["--repl"]:
        _leave_host()
    if options["--chip"] == "stm32":
        # Flash has a folder of its own there, and "/" holds nothing else.
        _root = "/flash"
    _mount(options["--flash"])
    if "--firmware" in options and not _exists(_root + "/main.py"):
        _install(options["--firmware"])
    for pair in options["--put"]:
        local, _, remote = pair.partition(":")
        _copy(_from_start(local), _root + "/" + remote.lstrip("/"))
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
    sys.path[:] = [_SIM, "", ".frozen"]
    if options["--repl"]:
        sys.path[:] = ["", ".frozen", _root + "/lib"]
        sys.argv[:] = []
    return keep, mode


def serve_console(keep, mode):
    """Do what a board does after power-on or a soft reset: boot.py, main.py unless in raw mode, then the REPL."""
    import repl

    board = "Andon emulated board with " + machine.family.upper()
    console = repl.Repl(mode, _BANNER % (sys.version.split("; ")[1], board), machine.EXIT_RESET)
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


_BANNER = '%s; %s\r\nType "help()" for more information.\r\n'
_START = os.getcwd()
_SIM = _absolute(__file__).rsplit("/", 1)[0]
sys.path[:] = [_SIM, ".frozen"]

import hashlib  # noqa: E402 - the sim's modules must come before the built-in ones on the path

import machine  # noqa: E402
import registers  # noqa: E402
import vfs  # noqa: E402

# The host's files by themselves: they stay within the board's own reach when they are no longer mounted.
_host = vfs.VfsPosix("/")
_root = "/flash"

_options = _arguments(sys.argv[1:])
_kept, _mode = start(_options)
if _options["--repl"]:
    serve_console(_kept, _mode)
execfile("boot.py")
execfile("main.py")
