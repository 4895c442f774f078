"""ESP32-C3 DevKitM-1 (no pulse counter unit: `electronic` inputs are counted by interrupts)."""

GPIOS = 22
PINS = {
    "W1": 6,
    "W2": 7,
    "IN1": 0,
    "IN2": 1,
    "IN3": 3,
    "IN4": 10,
    "RELAY1": 4,
    "RELAY2": 5,
    "LED": 8,
}
RELAYS = ("RELAY1", "RELAY2")
INPUT_ONLY = ()
# ADC1; the other unit does not work while Wi-Fi is on.
ANALOG = (0, 1, 2, 3, 4)
