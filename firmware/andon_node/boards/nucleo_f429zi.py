"""ST NUCLEO-F429ZI (Ethernet on board). Pin numbers are 16 per port: PB0 is 16, PC13 is 45 (andon_base/chip.py).

IN1 is the blue button, high while pressed; RELAY1 to RELAY3 are also the LEDs LD1 to LD3. The sensor bus I2C1 is on PB8
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
    "RELAY1": 16,
    "RELAY2": 23,
    "RELAY3": 30,
}
RELAYS = ("RELAY1", "RELAY2", "RELAY3")
INPUT_ONLY = ()
# Its ADC has neither the ESP32's range nor its calibration: the analogue drivers are not for this board.
ANALOG = ()
