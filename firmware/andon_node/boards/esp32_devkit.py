"""ESP32 DevKitC (ESP32-WROOM-32)."""

GPIOS = 40
PINS = {
    "W1": 4,
    "W2": 5,
    "IN1": 32,
    "IN2": 33,
    "IN3": 34,
    "IN4": 35,
    "RELAY1": 25,
    "RELAY2": 26,
    "LED": 2,
}
RELAYS = ("RELAY1", "RELAY2")
# GPIO34 and 35 have no pull resistors and no output: only for inputs that are driven both ways.
INPUT_ONLY = (34, 35, 36, 37, 38, 39)
# ADC1; the other unit does not work while Wi-Fi is on.
ANALOG = (32, 33, 34, 35, 36, 37, 38, 39)
