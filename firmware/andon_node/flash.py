"""Small files on the flash that survive a power cut: whole old or whole new, never half."""

import os


def write_atomically(path, text):
    """Replace a file's content; littlefs makes the rename atomic."""
    fresh = path + ".new"
    with open(fresh, "w") as file:
        file.write(text)
    os.rename(fresh, path)


def exists(path):
    """Whether there is such a file or folder."""
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def next_boot_number(path="boot.txt", used=0):
    """Count this start and return its number, 1 at the first.

    Written before it is used, so a number is never given to two starts. `used` is the highest number known from elsewhere,
    should the file be damaged.
    """
    try:
        with open(path) as file:
            number = int(file.read())
    except (OSError, ValueError):
        number = 0
    number = max(number, used) + 1
    write_atomically(path, str(number))
    return number
