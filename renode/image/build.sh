#!/bin/sh
# MicroPython for the NUCLEO-F429ZI with room for a whole node: nothing of its sources is changed, only where flash is used.
#   renode/image/build.sh MICROPYTHON FOLDER
# MICROPYTHON is a checkout of 1.28 or newer whose board NUCLEO_F429ZI builds (arm-none-eabi-gcc, mpy-cross, submodules: its
# ports/stm32/README.md); FOLDER receives firmware.hex.
set -eu
[ $# = 2 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$2"
build=$(cd "$2" && pwd)
cd "$1/ports/stm32"
# Files: 256 KiB in the second bank, as MicroPython has them on the STM32F439, which is the same chip with cryptography.
exec make BOARD=NUCLEO_F429ZI BUILD="$build" \
    CFLAGS_EXTRA="-DMICROPY_HW_ROMFS_ENABLE_INTERNAL_FLASH=1 -DMICROPY_HW_ROMFS_ENABLE_PART0=1 -DMICROPY_HW_ENABLE_INTERNAL_FLASH_STORAGE_SEGMENT2=1" \
    LD_FILES="boards/stm32f439.ld $here/romfs.ld boards/common_ifs.ld"
