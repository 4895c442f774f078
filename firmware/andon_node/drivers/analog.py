"""The ADC as both analogue drivers use it: microvolts, averaged."""

from micropython import const

_SAMPLES = const(16)

# Where the ESP32's converter ends at 11 dB; a reading there says only "at least".
FULL_UV = 3080000


class AnalogInput:
    """One ADC pin at its widest range (ESP32: 11 dB, about 0.1 to 3.1 V, corrected by the chip's own calibration)."""

    def __init__(self, gpio):
        from machine import ADC, Pin

        self._adc = ADC(Pin(gpio), atten=ADC.ATTN_11DB)

    def microvolts(self):
        """Mean of some conversions: the ESP32's noise is larger than its step."""
        total = 0
        for _ in range(_SAMPLES):
            total += self._adc.read_uv()
        return total // _SAMPLES
