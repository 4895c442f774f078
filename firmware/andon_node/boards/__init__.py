"""Pin maps of the boards: names printed on the enclosure -> GPIO numbers."""

NAMES = ("esp32-devkit", "esp32-s3", "esp32-c3", "nucleo-f429zi")


def load(name):
    """Return the module with `PINS`, `RELAYS`, `GPIOS`, `INPUT_ONLY` and `ANALOG` of a board; only the chosen one costs memory.

    Raises:
        KeyError: There is no such board.
    """
    if name not in NAMES:
        raise KeyError(name)
    package = __import__("andon_node.boards." + name.replace("-", "_"))
    return getattr(package.boards, name.replace("-", "_"))


def gpio(board, pin):
    """Return the GPIO number of a pin name of the board's map, or of a raw name such as `GPIO4`.

    Raises:
        KeyError: The board has no such pin.
    """
    if pin in board.PINS:
        return board.PINS[pin]
    if pin.startswith("GPIO") and pin[4:].isdigit() and int(pin[4:]) < board.GPIOS:
        return int(pin[4:])
    raise KeyError(pin)
