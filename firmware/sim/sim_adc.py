"""`machine.ADC` on the unix port: an ESP32's converter over the voltages of the register file."""

import registers
from micropython import const

# At 11 dB the ESP32 measures up to about 3.1 V, in 4096 steps.
_FULL_UV = const(3100000)
_STEP_UV = const(_FULL_UV // 4096)


class ADC:
    """One analogue pin."""

    ATTN_0DB = 0
    ATTN_2_5DB = 1
    ATTN_6DB = 2
    ATTN_11DB = 3
    WIDTH_12BIT = 12

    def __init__(self, pin, *, atten=ATTN_0DB):
        if atten != ADC.ATTN_11DB:
            raise ValueError("the sim knows ATTN_11DB only")
        self._gpio = pin.gpio

    def read_uv(self):
        """Calibrated microvolts, in steps of the converter and cut off at its end."""
        return min(registers.microvolts(self._gpio), _FULL_UV) // _STEP_UV * _STEP_UV

    def read_u16(self):
        """Uncalibrated, 16 bits."""
        return self.read_uv() * 65535 // _FULL_UV
