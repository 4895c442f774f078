"""The CRC-8 of sensors on I2C: x^8 + x^5 + x^4 + 1, not reflected.

Sensirion starts it at 0xFF (data sheet SHT3x-DIS, section 4.12), Silicon Labs at 0 (data sheet Si7021-A20, section 5.1).
"""


def crc8(data, crc):
    """Go on with a CRC over some bytes; 0 over data and its own CRC when both are whole."""
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x31) & 0xFF if crc & 0x80 else crc << 1
    return crc
