"""ESP32-S3 DevKitC-1 (GPIO26 to 32 belong to the flash, 33 to 37 to octal PSRAM)."""

GPIOS = 49
PINS = {
    "W1": 6,
    "W2": 7,
    "IN1": 15,
    "IN2": 16,
    "IN3": 17,
    "IN4": 18,
    "RELAY1": 4,
    "RELAY2": 5,
    "LED": 38,
}
RELAYS = ("RELAY1", "RELAY2")
INPUT_ONLY = ()
# ADC1; the other unit does not work while Wi-Fi is on.
ANALOG = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
