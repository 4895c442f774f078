"""The `interlocks` section of the configuration; loaded only where there is one."""

from andon_node.config_section import ConfigError


class InterlockConfig:
    """One rule: while a reading is beyond a threshold, a relay is held in a state."""

    def __init__(self, section):
        when = section.section("when", section.REQUIRED)
        self.channel = when.text("channel", 32, section.REQUIRED)
        self.above = when.optional_number("above")
        self.below = when.optional_number("below")
        if (self.above is None) == (self.below is None):
            when.fail("above", "either above or below")
        if self.above is not None:
            self.clear = when.optional_number("clear_below")
            if self.clear is not None and self.clear > self.above:
                when.fail("clear_below", "a number not greater than above")
        else:
            self.clear = when.optional_number("clear_above")
            if self.clear is not None and self.clear < self.below:
                when.fail("clear_above", "a number not less than below")
        self.trip_on_fault = when.choice("fault", ("trip", "ignore"), "trip") == "trip"
        when.close()
        self.relay = section.integer("relay", 0, 63, section.REQUIRED)
        self.state = section.boolean("state", section.REQUIRED)
        self.latching = section.boolean("latching", False)


def load(sections, readings, relays):
    """Take the rules; `readings` are the names of all readings, `relays` the channels of all relays.

    Raises:
        ConfigError: Says what was expected.
    """
    items = []
    states: dict = {}
    for section in sections:
        item = InterlockConfig(section)
        if item.channel not in readings:
            section.fail("when.channel", "one of " + ", ".join(readings))
        if item.relay not in relays:
            section.fail("relay", "the channel of a relay of this node")
        if states.setdefault(item.relay, item.state) != item.state:
            raise ConfigError(section.name("state") + ": expected the same state as the relay's other interlocks have")
        section.close()
        items.append(item)
    return items
