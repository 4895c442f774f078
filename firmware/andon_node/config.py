"""The node's configuration: config.json, checked whole before anything of it is used."""

import json

from micropython import const

from andon_node import boards
from andon_node.config_section import ConfigError, Section

VERSION = 1
# A DS18B20 needs 750 ms for a conversion; the rest is for reading and for sending.
_MIN_SAMPLE_MS = const(100)
_MIN_TEMPERATURE_SAMPLE_MS = const(800)
_MAX_SAMPLE_MS = const(3600000)
_DAY_S = const(86400)


class TemperatureConfig:
    """One DS18B20."""

    def __init__(self, section, pin):
        self.channel = section.channel()
        self.gpio = pin(section, "pin", True, shared="1-wire")
        rom = section.optional_text("rom")
        self.rom = None
        if rom is not None:
            try:
                self.rom = bytes(int(rom[at : at + 2], 16) for at in range(0, 16, 2))
            except ValueError:
                section.fail("rom", "16 hexadecimal digits or null")
            if len(rom) != 16:
                section.fail("rom", "16 hexadecimal digits or null")


class CyclesConfig:
    """One pulse input."""

    def __init__(self, section, pin):
        self.channel = section.channel()
        self.gpio = pin(section, "pin", False)
        self.electronic = section.choice("mode", ("electronic", "contact"), "contact") == "electronic"
        self.active_high = section.choice("active", ("low", "high"), "low") == "high"
        self.debounce_ms = section.integer("debounce_ms", 0, 1000, 20)


class RelayConfig:
    """One relay output and the input that reads its contact back."""

    def __init__(self, section, pin):
        self.channel = section.channel()
        self.gpio = pin(section, "pin", True)
        self.active_high = section.choice("active", ("low", "high"), "high") == "high"
        self.safe = section.boolean("safe", False)
        self.restored = section.choice("after_reset", ("safe", "restore"), "safe") == "restore"
        self.min_on_s = section.integer("min_on_s", 0, 3600, 0)
        self.min_off_s = section.integer("min_off_s", 0, 3600, 0)
        self.contact_gpio = pin(section, "contact_pin", False, None)
        self.contact_active_high = section.choice("contact_active", ("low", "high"), "high") == "high"

    def safe_level(self):
        """Level of the output in the safe state."""
        return 1 if self.safe == self.active_high else 0


class Config:
    """The whole document, checked."""

    def __init__(self, document):
        root = Section("", document)
        if root.integer("version", 0, 1 << 20, Section.REQUIRED) != VERSION:
            root.fail("version", "%d, the only one this firmware knows" % VERSION)
        self.node = root.text("node", 63, Section.REQUIRED)
        if not _is_dns_label(self.node):
            root.fail("node", "a DNS label: lower-case letters, digits and inner hyphens, such as press-7")
        self.board = root.choice("board", boards.NAMES, "esp32-devkit")
        self._pins = {}
        self._map = boards.load(self.board)
        link = root.section("link", {})
        self.link = link.choice("kind", ("wifi", "lan", "serial"), "wifi")
        self.uart = link.integer("uart", 0, 2, 1)
        self.baud = link.integer("baud", 9600, 3000000, 115200)
        self.tx = self._pin(link, "tx", True, None)
        self.rx = self._pin(link, "rx", False, None)
        if (self.tx is None) != (self.rx is None):
            link.fail("rx", "both tx and rx, or neither")
        wifi = root.section("wifi", Section.REQUIRED if self.link == "wifi" else {"ssid": "-"})
        self.ssid = wifi.text("ssid", 32, Section.REQUIRED)
        self.password = wifi.text("password", 63, "", 0)
        self.lan = self._lan(root) if self.link == "lan" else None
        gateway = root.section("gateway", {"host": "-"} if self.link == "serial" else Section.REQUIRED)
        self.gateway_host = gateway.text("host", 253, Section.REQUIRED)
        self.gateway_port = gateway.integer("port", 1, 65535, 5683)
        self.coap_port = root.integer("coap_port", 0, 65535, 5683)
        self.sample_ms = root.integer("sample_ms", _MIN_SAMPLE_MS, _MAX_SAMPLE_MS, 1000)
        self.revision = root.integer("revision", 0, 1 << 29, 0)
        self.trial_s = root.integer("trial_s", 5, 3600, 120)
        self.hold_s = root.integer("hold_s", 0, _DAY_S, 300)
        self.pack_ms = root.integer("pack_ms", 0, _MAX_SAMPLE_MS, 1000)
        self.journal_bytes = root.integer("journal_bytes", 32768, 16777216, 262144)
        self.lease_max_s = root.integer("lease_max_s", 1, _DAY_S, _DAY_S)
        self.temperature = [TemperatureConfig(item, self._pin) for item in _closing(root, "temperature")]
        self.cycles = [CyclesConfig(item, self._pin) for item in _closing(root, "cycles")]
        self.relays = [RelayConfig(item, self._pin) for item in _closing(root, "relays")]
        self.sensors = self._sensors(root)
        _refuse_shared_bus_without_rom(self.temperature)
        if self.temperature and self.sample_ms < _MIN_TEMPERATURE_SAMPLE_MS:
            root.fail("sample_ms", "at least %d with temperature sensors" % _MIN_TEMPERATURE_SAMPLE_MS)
        for sections in ("temperature", "cycles", "relays"):
            _refuse_repeated_channels(sections, getattr(self, sections))
        _refuse_repeated_names(self)
        self.interlocks = self._interlocks(root)
        for section in (link, wifi, gateway, root):
            section.close()

    def _lan(self, root):
        from andon_node import config_lan

        return config_lan.load(root.section("lan", {}))

    def _interlocks(self, root):
        sections = root.sections("interlocks")
        if not sections:
            return sections
        from andon_node import config_interlocks

        return config_interlocks.load(sections, self.readings(), [relay.channel for relay in self.relays])

    def readings(self):
        """Names of all readings that this node will give."""
        names = ["temperature/%d" % item.channel for item in self.temperature]
        names += ["cycles/%d" % item.channel for item in self.cycles]
        for item in self.sensors:
            names.extend(item.names)
        return names

    def _sensors(self, root):
        sections = root.sections("sensors")
        if not sections:
            return sections
        from andon_node.config_drivers import SensorConfig

        sensors = []
        for section in sections:
            sensors.append(SensorConfig(section, self._pin))
            section.close()
        return sensors

    def _pin(self, section, key, output, default=Section.REQUIRED, shared=None, analog=False):
        """Take a pin; one with a `shared` role (a bus) may be taken again for the same role, any other only once."""
        name = section.optional_text(key) if default is None else section.text(key, 16, default)
        if name is None:
            return None
        try:
            gpio = boards.gpio(self._map, name)
        except KeyError:
            section.fail(key, "a pin of %s: %s or a raw name such as GPIO4" % (self.board, ", ".join(self._map.PINS)))
        if output and gpio in self._map.INPUT_ONLY:
            section.fail(key, "a pin that can drive; GPIO%d is input only" % gpio)
        if analog and gpio not in self._map.ANALOG:
            usable = self._map.ANALOG
            which = "GPIO%d to GPIO%d" % (usable[0], usable[-1]) if usable else "this board has none"
            section.fail(key, "a pin with an ADC that works beside Wi-Fi: " + which)
        if gpio in self._pins and (shared is None or self._pins[gpio] != shared):
            section.fail(key, "a pin that is not used yet; GPIO%d is" % gpio)
        self._pins[gpio] = shared
        return gpio


def _closing(root, key):
    for section in root.sections(key):
        yield section
        section.close()


def _is_dns_label(text):
    # RFC 1123 2.1
    for char in text:
        if char not in "abcdefghijklmnopqrstuvwxyz0123456789-":
            return False
    return not text.startswith("-") and not text.endswith("-")


def _refuse_repeated_channels(name, items):
    seen = set()
    for index, item in enumerate(items):
        if item.channel in seen:
            raise ConfigError("%s[%d].channel: expected a channel that is not used yet" % (name, index))
        seen.add(item.channel)


def _refuse_repeated_names(config):
    seen = ["temperature/%d" % item.channel for item in config.temperature]
    for index, sensor in enumerate(config.sensors):
        for name in sensor.names:
            if name in seen:
                raise ConfigError("sensors[%d].channel: expected a channel that is not used yet; %s is" % (index, name))
            seen.append(name)


def _refuse_shared_bus_without_rom(thermometers):
    gpios = [item.gpio for item in thermometers]
    for index, item in enumerate(thermometers):
        if item.rom is None and gpios.count(item.gpio) > 1:
            raise ConfigError(
                "temperature[%d].rom: expected a ROM code, since thermometers share GPIO%d" % (index, item.gpio)
            )


def load(path):
    """Read and check a configuration file.

    Raises:
        ConfigError: One line that names the file, the key and what was expected.
    """
    try:
        with open(path) as file:
            document = json.load(file)
    except OSError:
        raise ConfigError("%s: not found; put one on the board (see firmware/README.md)" % path)  # noqa: B904
    except ValueError:
        raise ConfigError("%s: expected JSON" % path)  # noqa: B904 - MicroPython keeps no cause
    try:
        return Config(document)
    except ConfigError as error:
        raise ConfigError("%s: %s" % (path, error))  # noqa: B904
