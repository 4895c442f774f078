"""What to tell a person whose board does not answer. Pure: from symptoms to one line."""

from __future__ import annotations

from typing import Final

# Marks in an ESP32's boot log (ESP-IDF, "Fatal Errors" and "Boot Mode Selection").
_DOWNLOAD: Final = (b"waiting for download", b"DOWNLOAD_BOOT", b"DOWNLOAD(")
_RESETS: Final = (b"rst:0x", b"Guru Meditation", b"abort() was called", b"Brownout detector")
_NO_IMAGE: Final = (b"invalid header", b"No bootable app", b"flash read err")
_PRINTABLE_SHARE: Final = 0.8
_LOOP_STARTS: Final = 2


def for_silence(port: str, heard: bytes) -> str:
    """What to try when the raw REPL does not come, from what the port said meanwhile."""
    if not heard.strip(b"\r\n\x00 "):
        return (
            f"{port}: nothing answers. Is this the board's port (andon node ports)? Is the board powered? "
            "Press its EN/RST button and try again; a board without MicroPython needs: andon node flash"
        )
    if any(mark in heard for mark in _DOWNLOAD):
        return f"{port}: the board waits in its bootloader. Release BOOT (GPIO0), press EN/RST, and try again"
    if any(mark in heard for mark in _NO_IMAGE):
        return f"{port}: the board has no MicroPython that starts. Write it with: andon node flash --image FILE"
    if sum(heard.count(mark) for mark in _RESETS) + heard.count(b"MPY: soft reboot") >= _LOOP_STARTS:
        reason = "its supply breaks down (another cable or supply)" if b"Brownout" in heard else "see: andon node logs"
        return (
            f"{port}: the board restarts over and over: {reason}. If it goes on, write it anew with: andon node flash"
        )
    text = sum(byte in b"\r\n\t\x1b" or 32 <= byte < 127 for byte in heard)  # noqa: PLR2004  printable ASCII
    if text < _PRINTABLE_SHARE * len(heard):
        return f"{port}: only noise at 115,200 baud. Is this another device's port? If it is the board: another cable"
    return (
        f"{port}: something talks, but it is no MicroPython prompt and Ctrl-C does not stop it. Press EN/RST and try again "
        "within ten seconds; see what it says with: andon node logs"
    )


def for_missing(port: str, present: list[str]) -> str:
    """What to try when the port does not exist."""
    there = "ports here: " + ", ".join(present) if present else "no serial port is here: is the cable a data cable?"
    return f"{port}: no such port; {there}"


def for_permission(port: str, group: str) -> str:
    """What to try when the port may not be opened."""
    return f"{port}: no permission. Once: sudo usermod -aG {group} $USER, then log out and in again"


def for_busy(port: str) -> str:
    """What to try when somebody else has the port."""
    return f"{port}: in use by another program (a terminal, another andon or mpremote, ModemManager); close it: fuser {port}"


def for_board_error(error: str) -> str:
    """The last line of a traceback, with what to do about the usual ones."""
    last = next((line.strip() for line in reversed(error.splitlines()) if line.strip()), "no explanation")
    if "ENOSPC" in last or "Errno 28" in last:
        return (
            f"the board's flash is full ({last}); see what is on it: mpremote fs tree; free it with: andon node flash"
        )
    if "MemoryError" in last:
        return f"the board's memory is full ({last}); press EN/RST and try again"
    return f"the board says: {last}"
