"""The board's console: MicroPython's friendly and raw REPL on stdin and stdout, which the supervisor ties to a serial line.

The unix port has a REPL of its own only on a terminal, and none that tools can drive. This one answers what a board answers
(MicroPython's documentation, "The MicroPython Interactive Interpreter Mode": raw mode, raw-paste mode, soft reset), so
that unmodified `mpremote` works with it.
"""

import builtins
import gc
import io
import select
import sys
import time

import interrupts
import machine
import micropython
import registers
from micropython import const

RAW = 1
FRIENDLY = 0

# What running a piece of code ended with.
OK = 1
FAILED = 0
FORCED_EXIT = -1

_CTRL_A = const(1)
_CTRL_B = const(2)
_CTRL_C = const(3)
_CTRL_D = const(4)
_CTRL_E = const(5)
_POLL_MS = const(20)
# Raw-paste window in bytes, as on boards (half of MICROPY_REPL_STDIN_BUFFER_MAX).
_WINDOW = const(128)

_RAW_BANNER = const("raw REPL; CTRL-B to exit\r\n")
_PASTE_BANNER = const("\r\npaste mode; Ctrl-C to cancel, Ctrl-D to finish\r\n=== ")

_MACHINE = const("Andon emulated board with ")
_BANNER = const('%s; %s\r\nType "help()" for more information.\r\n')
_HERE = const('File "repl", line ')

_builtin_print = builtins.print


def _cooked_print(*values, sep=" ", end="\n", file=None):
    # A board's console sends CR LF for every LF; the unix port leaves that to the terminal.
    if file is not None:
        return _builtin_print(*values, sep=sep, end=end, file=file)
    text = io.StringIO()
    _builtin_print(*values, sep=sep, end=end, file=text)
    sys.stdout.write(text.getvalue().replace("\n", "\r\n"))
    return None


def _send(text):
    sys.stdout.write(text)


def _send_exception(error):
    text = io.StringIO()
    sys.print_exception(error, text)
    for line in text.getvalue().rstrip("\n").split("\n"):
        # The frames of this file are the C code of a board.
        if _HERE not in line:
            _send(line + "\r\n")


def _show(value):
    if value is not None:
        print(repr(value))


class _Keyboard:
    """Ctrl-C while a program runs: what the UART's interrupt handler does on a board (docs/emulation.md, console)."""

    def __init__(self):
        self._seen = registers.interrupts_requested()

    def watch(self):
        """From now on Ctrl-C interrupts; older ones are forgotten."""
        self._seen = registers.interrupts_requested()
        registers.set_interrupts_handled(self._seen)
        registers.set_interruptible(1)

    def ignore(self):
        """From now on Ctrl-C is a character."""
        registers.set_interruptible(0)
        registers.set_interrupts_handled(registers.interrupts_requested())

    def deliver(self):
        """Raise the KeyboardInterrupt that is due."""
        requested = registers.interrupts_requested()
        if requested != self._seen:
            self._seen = requested
            registers.set_interrupts_handled(requested)
            raise KeyboardInterrupt

    def set_character(self, char):
        """Choose the character that interrupts the running program: 3, or -1 for none (`micropython.kbd_intr`).

        Raises:
            ValueError: another character, which this console's line does not look for.
        """
        if char == -1:
            self.ignore()
        elif char == _CTRL_C:
            self.watch()
        else:
            raise ValueError("on an emulated board only Ctrl-C can interrupt: kbd_intr(3) or kbd_intr(-1)")


class _Micropython:
    """The `micropython` module with the console's own `kbd_intr`; the unix port's knows the process's signals alone.

    Programs that take bytes from the console need it, `mpremote mount` before others: any byte of a file may be a 3.
    """

    def __init__(self, keyboard):
        self.kbd_intr = keyboard.set_character

    def __getattr__(self, name):
        return getattr(micropython, name)


class Repl:
    """One console from one soft reset to the next.

    Attributes:
        mode: RAW or FRIENDLY.
    """

    def __init__(self, mode, banner, exit_reset):
        self.mode = mode
        self._banner = banner
        self._exit_reset = exit_reset
        self._globals = {"__name__": "__main__"}
        self._byte = bytearray(1)
        self._input = select.poll()
        self._input.register(sys.stdin, select.POLLIN)
        self._keyboard = _Keyboard()
        interrupts.connect(self._keyboard)
        sys.modules["micropython"] = _Micropython(self._keyboard)
        builtins.print = _cooked_print
        builtins.__repl_print__ = _show

    def run_file(self, path):
        """Run a file of the board in the REPL's name space; missing files are fine.

        Returns:
            OK, FAILED (an exception was shown) or FORCED_EXIT (sys.exit).
        """
        try:
            with open(path) as file:
                file.read(1)
        except OSError:
            return OK
        return self._run(self._execute_file, path)

    def forget(self):
        """Let go of everything that was executed here."""
        self._globals.clear()
        gc.collect()

    def serve(self):
        """Answer the console until a soft reset is asked for."""
        while True:
            try:
                done = self._serve_raw() if self.mode == RAW else self._serve_friendly()
            except KeyboardInterrupt:
                # The supervisor's signal for a program that had just ended by itself.
                done = False
            if done:
                return

    def _execute_file(self, path):
        execfile(path, self._globals)

    def _execute(self, code):
        exec(compile(code, "<stdin>", "exec"), self._globals)  # noqa: S102 - a REPL executes what it is sent

    def _execute_single(self, code):
        exec(compile(code, "<stdin>", "single"), self._globals)  # noqa: S102 - see _execute

    def _run(self, execute, argument, before_error=""):
        result = OK
        failure = None
        try:
            self._keyboard.watch()
            try:
                execute(argument)
            finally:
                self._keyboard.ignore()
        except SystemExit as leaving:
            # machine.reset() and the watchdog end the process with this status; a program's own sys.exit() ends the
            # session, which on a board is a soft reset.
            if leaving.args and leaving.args[0] == self._exit_reset:
                raise
            result = FORCED_EXIT
        except BaseException as error:
            failure = error
            result = FAILED
        if before_error:
            _send(before_error)
        if failure is not None:
            _send_exception(failure)
        return result

    def _read(self):
        # Waiting is idle time of the board: interrupts and the watchdog go on.
        while True:
            for _ in self._input.ipoll(_POLL_MS):
                if not sys.stdin.buffer.readinto(self._byte):
                    sys.exit(0)  # the supervisor has closed the line
                return self._byte[0]
            time.ticks_ms()

    def _serve_raw(self):
        _send(_RAW_BANNER)
        while True:
            _send(">")
            end, line = self._raw_line()
            if end == _CTRL_B:
                _send("\r\n")
                self.mode = FRIENDLY
                return False
            if end == _CTRL_A:
                result = self._paste_raw(line[1])
            elif line:
                _send("OK")
                result = self._run(self._execute, line, "\x04")
                _send("\x04")
            else:
                _send("OK\r\n")
                return True
            if result == FORCED_EXIT:
                return True

    def _raw_line(self):
        # Code up to Ctrl-D; Ctrl-B leaves raw mode; Ctrl-A begins anew, or ends a command of the form Ctrl-E, letter.
        line = bytearray()
        while True:
            char = self._read()
            if char in (_CTRL_B, _CTRL_D):
                return char, bytes(line)
            if char == _CTRL_A:
                if len(line) == 2 and line[0] == _CTRL_E:
                    return char, bytes(line)
                _send(_RAW_BANNER + ">")
            if char in (_CTRL_A, _CTRL_C):
                line = bytearray()
            else:
                line.append(char)

    def _paste_raw(self, command):
        if command != 65:  # "A", the only command there is
            _send("R\x00")
            return OK
        _send("R\x01")
        sys.stdout.buffer.write(bytes((_WINDOW & 0xFF, _WINDOW >> 8)))
        # Two windows are open at first, so that the host keeps sending while one is read.
        _send("\x01")
        code = bytearray()
        left = _WINDOW
        while True:
            char = self._read()
            if char in (_CTRL_C, _CTRL_D):
                break
            code.append(char)
            left -= 1
            if not left:
                left = _WINDOW
                _send("\x01")
        _send("\x04")
        if char == _CTRL_C:
            _send("\x04")
            _send_exception(KeyboardInterrupt())
            _send("\x04")
            return FAILED
        code = bytes(code)
        result = self._run(self._execute, code, "\x04")
        _send("\x04")
        return result

    def _serve_friendly(self):
        _send(self._banner)
        while True:
            line = self._edit(">>> ")
            if isinstance(line, int):
                if line == _CTRL_A:
                    self.mode = RAW
                    return False
                if line == _CTRL_B:
                    return False
                if line == _CTRL_D:
                    _send("\r\n")
                    return True
                if line == _CTRL_E:
                    line = self._paste()
                    if line and self._run(self._execute, line) == FORCED_EXIT:
                        return True
                continue
            line = self._rest_of_block(line)
            if line and line.strip() and self._run(self._execute_single, line) == FORCED_EXIT:
                return True

    def _rest_of_block(self, line):
        # A compound statement or an open bracket goes on until an empty line.
        opened = sum(line.count(char) for char in "([{") - sum(line.count(char) for char in ")]}")
        if not line.rstrip().endswith((":", "\\")) and opened <= 0 and not line.startswith("@"):
            return line
        while True:
            more = self._edit("... ")
            if isinstance(more, int):
                return ""
            if not more.strip():
                return line + "\n"
            line += "\n" + more

    def _edit(self, prompt):
        """Read one line with echo and backspace; a control character at its start is returned as its number."""
        _send(prompt)
        line = bytearray()
        while True:
            char = self._read()
            if char == _CTRL_C:
                _send("\r\n")
                return _CTRL_C
            if char in (13, 10):
                _send("\r\n")
                return line.decode()
            if not line and char in (_CTRL_A, _CTRL_B, _CTRL_D, _CTRL_E):
                if char in (_CTRL_A, _CTRL_B):
                    _send("\r\n")
                return char
            if char in (8, 127):
                if line:
                    line = line[:-1]
                    _send("\b \b")
            elif char >= 32:
                line.append(char)
                sys.stdout.buffer.write(self._byte)

    def _paste(self):
        _send(_PASTE_BANNER)
        code = bytearray()
        while True:
            char = self._read()
            if char == _CTRL_C:
                _send("\r\n")
                return b""
            if char == _CTRL_D:
                _send("\r\n")
                return bytes(code)
            if char == 13:
                code.append(10)
                _send("\r\n=== ")
            else:
                code.append(char)
                sys.stdout.buffer.write(self._byte)


def serve(mode):
    """Do what a board does after power-on or a soft reset: boot.py, main.py unless in raw mode, then the REPL."""
    console = Repl(mode, _BANNER % (sys.version.split("; ")[1], _MACHINE + machine.family.upper()), machine.EXIT_RESET)
    # As in MicroPython's esp32/main.c: a boot.py that fails keeps main.py from running.
    ended = console.run_file("boot.py")
    if ended == OK and mode == FRIENDLY:
        ended = console.run_file("main.py")
    if ended != FORCED_EXIT:
        console.serve()
    # As on a board, files left open are closed by their finalisers.
    console.forget()
    sys.stdout.write("MPY: soft reboot\r\n")
    machine.keep_cause(machine.SOFT_RESET, console.mode)
    sys.exit(machine.EXIT_RESET)
