"""ST NUCLEO-F429ZI (Ethernet on board). Pin numbers are 16 per port: PB0 is 16, PC13 is 45 (andon_base/chip.py).

IN1 is the blue button, high while pressed: for a bench. No machine on it: held at a reset, it makes MicroPython choose
how to start, up to erasing its files (ports/stm32/boardctrl.c). No relay on the LEDs LD1 to LD3 (PB0, PB7, PB14):
MicroPython drives LD1 during every write to its flash and before boot.py, all of them while that button is held at a reset
and in a fatal error (boardctrl.c, flashbdev.c). The sensor bus I2C1 is on PB8
(SCL) and PB9 (SDA), UART2 on PD5 (TX) and PD6 (RX). Board's manual: ST UM1974, tables 16 to 19.
"""

GPIOS = 176
PINS = {
    "W1": 38,
    "W2": 39,
    "IN1": 45,
    "IN2": 40,
    "IN3": 41,
    "IN4": 42,
    "RELAY1": 43,
    "RELAY2": 44,
}
RELAYS = ("RELAY1", "RELAY2")
INPUT_ONLY = ()
# Its ADC has neither the ESP32's range nor its calibration: the analogue drivers are not for this board.
ANALOG = ()
