"""Takes values out of an object of the configuration, each once and within its limits."""

from micropython import const

_MAX_CHANNEL = const(63)


class ConfigError(Exception):
    """The configuration is not usable; the message names file, key and what was expected."""


_REQUIRED = object()


def _is_number(value):
    # Infinity minus itself is not 0: a threshold of 1e999 would guard nothing.
    return type(value) in (int, float) and value - value == 0


class Section:
    """An object of the document; every value is taken out once, and what is left over is an error."""

    REQUIRED = _REQUIRED

    def __init__(self, path, values):
        self.path = path
        if not isinstance(values, dict):
            raise ConfigError("%s: expected an object" % (path or "document"))
        self._left = dict(values)

    def fail(self, key, expected):
        """Raise the error for a key."""
        raise ConfigError("%s: expected %s" % (self.name(key), expected))

    def name(self, key):
        """Full name of a key."""
        return "%s.%s" % (self.path, key) if self.path else key

    def _take(self, key, default, expected):
        if key in self._left:
            return self._left.pop(key)
        if default is _REQUIRED:
            self.fail(key, expected + ", but it is missing")
        return default

    def integer(self, key, low, high, default):
        """Take an integer within limits."""
        expected = "a whole number from %d to %d" % (low, high)
        value = self._take(key, default, expected)
        if type(value) is not int or not low <= value <= high:
            self.fail(key, expected)
        return value

    def channel(self):
        """Take the channel number of a quantity."""
        return self.integer("channel", 0, _MAX_CHANNEL, _REQUIRED)

    def optional_channel(self, key):
        """Take a channel number or null, which is the default."""
        if self._left.get(key) is None:
            return self._left.pop(key, None)
        return self.integer(key, 0, _MAX_CHANNEL, _REQUIRED)

    def number(self, key):
        """Take a number."""
        value = self._take(key, _REQUIRED, "a number")
        if not _is_number(value):
            self.fail(key, "a number")
        return value

    def optional_number(self, key):
        """Take a number or null, which is the default."""
        if self._left.get(key) is None:
            return self._left.pop(key, None)
        return self.number(key)

    def numbers(self, key, count):
        """Take a list of numbers or null, which is the default."""
        values = self._take(key, None, "a list")
        if values is None:
            return None
        if not isinstance(values, list) or len(values) != count or not all(map(_is_number, values)):
            self.fail(key, "a list of %d numbers or null" % count)
        return values

    def text(self, key, max_length, default, min_length=1):
        """Take a text of limited length."""
        expected = "text of %d to %d characters" % (min_length, max_length)
        value = self._take(key, default, expected)
        if not isinstance(value, str) or not min_length <= len(value) <= max_length:
            self.fail(key, expected)
        return value

    def optional_text(self, key):
        """Take a text or null, which is the default."""
        value = self._take(key, None, "text or null")
        if value is not None and not isinstance(value, str):
            self.fail(key, "text or null")
        return value

    def choice(self, key, allowed, default):
        """Take one of some texts."""
        expected = "one of " + ", ".join(allowed)
        value = self._take(key, default, expected)
        if value not in allowed:
            self.fail(key, expected)
        return value

    def boolean(self, key, default):
        """Take true or false."""
        value = self._take(key, default, "true or false")
        if type(value) is not bool:
            self.fail(key, "true or false")
        return value

    def section(self, key, default):
        """Take an object."""
        return Section(self.name(key), self._take(key, default, "an object"))

    def sections(self, key):
        """Take a list of objects, empty by default."""
        value = self._take(key, [], "a list")
        if not isinstance(value, list):
            self.fail(key, "a list")
        return [Section("%s[%d]" % (self.name(key), index), item) for index, item in enumerate(value)]

    def close(self):
        """Refuse keys that nobody asked for: a misspelt key would silently mean its default."""
        for key in self._left:
            raise ConfigError("%s: no such key" % self.name(key))
