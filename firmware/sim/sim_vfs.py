"""MicroPython's `vfs` with what a chip with a `romfs` partition has in addition."""

from sim_rom import rom_ioctl  # noqa: F401 - part of this module
from vfs import *  # noqa: F403 - the module stands in for the built-in one, whatever that offers
