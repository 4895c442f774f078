"""Composition of the node: configuration in, drivers and tasks out."""

import asyncio
import gc

import machine
from micropython import const
from onewire import OneWire

from andon_base import chip, slots
from andon_node import flash
from andon_node.clock import Clock
from andon_node.coap import open_security
from andon_node.coap.endpoint import Endpoint
from andon_node.commands import CommandDesk
from andon_node.config_store import ConfigStore, forget_checks
from andon_node.drivers import ds18b20, pulse
from andon_node.drivers.relay import Relay
from andon_node.epochs import Epochs
from andon_node.gateway import GatewayLink
from andon_node.health import Health, LoopLag
from andon_node.interlocks import Interlocks
from andon_node.journal import Journal
from andon_node.leases import Leases
from andon_node.net.link import open_link
from andon_node.outbox import Outbox
from andon_node.pack import Recorder
from andon_node.passing import forget
from andon_node.relay_watch import RelayWatch
from andon_node.resources import Resources
from andon_node.sampler import Sampler
from andon_node.supervisor import Supervisor
from andon_node.watchdog import Watchdog

# How long a task of the node itself may take to do something; its restarts after a crash are within this.
_STUCK_MS = const(60000)

# Bytes that may be allocated between two garbage collections.
_GARBAGE = const(8192)

_OUTPUTS = const("outputs.txt")
_JOURNAL = const("journal")
_EPOCHS = const("epochs.txt")
# Where update/desk.py keeps a job.
_UPDATE_JOB = const("update.json")


def run_node(config_path):
    """Run for ever. With an unusable configuration: recovery, where another one can be put."""
    asyncio.run(_compose(config_path).run())


def _compose(config_path):
    from andon_node import config

    store = ConfigStore(config_path)
    try:
        settings = store.load()
    except config.ConfigError as error:
        if slots.on_trial():
            # The version before could read it.
            raise
        recovery_without_config(config_path, str(error))
    remember_safe_outputs(settings.relays)
    journal = Journal(_JOURNAL, settings.journal_bytes)
    node = Node(settings, flash.next_boot_number(used=journal.last_boot), journal, store)
    forget_checks()
    return node


def recovery_without_config(config_path, why):
    """Serve the recovery until there is a good configuration, then start anew."""
    from andon_base import recovery

    def usable():
        from andon_node import config

        try:
            config.load(config_path)
        except config.ConfigError:
            return False
        return True

    chip.keep_watchdog_fed()
    recovery.run(config_path, why, usable)


def remember_safe_outputs(relays):
    """Tell boot.py which outputs to put where, if that changed; it cannot rely on a parsable configuration."""
    text = "".join("%d %d\n" % (relay.gpio, relay.safe_level()) for relay in relays)
    try:
        with open(_OUTPUTS) as file:
            if file.read() == text:
                return
    except OSError:
        pass
    flash.write_atomically(_OUTPUTS, text)


class Node:
    """One node with everything it is made of."""

    def __init__(self, settings, boot, journal, store):
        # Of the settings only these: the rest, and what had checked them, is given back to the heap.
        self._name = settings.node
        self._sample_ms = settings.sample_ms
        self._hold_ms = settings.hold_s * 1000
        self._trial_ms = settings.trial_s * 1000
        self._revision = settings.revision
        self._boot = boot
        self._clock = Clock()
        self._supervisor = Supervisor()
        # Relays first: from here on every output has its driver.
        self._relays = [Relay(item, self._clock) for item in settings.relays]
        self._buses = {}
        self._drivers = [self._thermometer(item) for item in settings.temperature]
        self._drivers += [self._counter(unit, item) for unit, item in enumerate(settings.cycles)]
        names = [driver.name for driver in self._drivers]
        shared: dict = {}
        for item in settings.sensors:
            self._drivers.append(item.open(shared))
            names.extend(item.names)
        self._outbox = Outbox(journal)
        self._epochs = Epochs(_EPOCHS, boot, journal, self._clock)
        together = max(1, settings.pack_ms // settings.sample_ms)
        self._recorder = Recorder(settings.node, boot, self._clock, self._outbox, together)
        self._link = open_link(settings)
        self._sampler = Sampler(
            settings.sample_ms,
            self._drivers,
            self._relays,
            self._health_readings,
            self._recorder,
            self._clock,
        )
        self._interlocks = Interlocks(
            settings.interlocks,
            {relay.channel: relay for relay in self._relays},
            self._sampler.newest,
            settings.sample_ms,
            self._clock,
        )
        self._sampler.on_sample = self._interlocks.judge
        self._leases = Leases(self._relays, self._clock)
        self._store = store
        self._watch = RelayWatch(
            self._relays,
            self._interlocks,
            self._leases,
            self._clock,
            self._hold_ms,
            self._heard_ms,
            self._report_relays,
        )
        self._updates = None
        self._update_wanted = asyncio.Event()
        self._resources = Resources(
            settings.node,
            names,
            self._sampler.newest,
            CommandDesk(self._relays, self._clock, settings.lease_max_s, self._leases),
            self._health_document,
            {
                b"interlock": (self._interlocks.links(), self._interlocks.handle),
                b"config": (["</config>;ct=50"], store.handle),
                b"update": (["</update>;ct=50"], self._serve_update),
            },
            self._watch.command_executed,
            self._clock,
        )
        self._endpoint = Endpoint(self._link.datagrams, self._handle, open_security(), boot)
        self._gateway = GatewayLink(self._endpoint, self._link, self._clock)
        self._lag = LoopLag()
        self._health = Health(
            boot, self._clock, self._supervisor, self._outbox, self._gateway, self._link, self._drivers, self._lag
        )

    def _thermometer(self, item):
        bus = self._buses.get(item.gpio)
        if bus is None:
            bus = self._buses[item.gpio] = ds18b20.Bus(OneWire(machine.Pin(chip.pin(item.gpio))))
        return ds18b20.Thermometer(item.channel, bus, item.rom)

    def _counter(self, unit, item):
        if item.electronic:
            return pulse.electronic_counter(item.channel, item.gpio, item.active_high, unit)
        return pulse.ContactCounter(item.channel, item.gpio, item.active_high, item.debounce_ms)

    async def run(self):
        """Run all tasks for ever."""
        print("node: %s boot %d" % (self._name, self._boot))
        gc.collect()
        # Garbage never grows over the large free piece at the end of the heap, which boot.py's smaller threshold has left.
        gc.threshold(_GARBAGE)
        keep = self._supervisor.keep
        await asyncio.gather(
            keep("relays", self._watch.run),
            keep("sampler", self._sampler.run),
            keep("coap", self._endpoint.serve),
            keep("observers", self._endpoint.observers.run),
            keep("link", self._link.run),
            keep("telemetry", self._send),
            keep("registration", self._register),
            keep("clock", self._gateway.keep_clock),
            keep("lag", self._lag.run),
            keep("watchdog", self._guard_progress),
            keep("update", self._update),
            self._supervisor.finish("leases", self._leases.restore),
            self._supervisor.finish("configuration", self._try_config),
            *[keep(driver.name, self._runner(driver)) for driver in self._drivers if hasattr(driver, "run")],
        )

    def _runner(self, driver):
        def run():
            return driver.run(self._sampler.report)

        return run

    async def _ask_gateway(self, code, options):
        return await self._gateway.ask(code, options)

    async def _send(self):
        await self._gateway.send(self._outbox, self._epochs)

    async def _register(self):
        await self._gateway.register(self._name, self._resources.links(), self._hold_ms, self._revision)

    async def _handle(self, request):
        self._gateway.heard(request.source)
        return await self._resources.handle(request)

    def _heard_ms(self):
        return self._gateway.heard_ms

    async def _serve_update(self, request, _path):
        response = self._desk().handle(request)
        self._update_wanted.set()
        return response

    def _desk(self):
        """What carries out updates; loaded when there is one, or somebody asks for it."""
        if self._updates is None:
            from andon_node.update.desk import Updates

            self._updates = Updates(self._ask_gateway)
        return self._updates

    async def _try_config(self):
        await self._store.try_out(lambda: self._gateway.reached, self._trial_ms, self._clock)

    async def _update(self):
        await self._confirm()
        if not flash.exists(_UPDATE_JOB):
            await self._update_wanted.wait()
        await self._desk().run()

    async def _confirm(self):
        from andon_node.update.guard import Guard

        await Guard(self._works, lambda: self._supervisor.crashes, self._clock).run()
        # Nothing is on trial any more until the next start.
        forget("andon_node.update.guard", "andon_node.update.image_trial")

    def _works(self):
        return self._sampler.samples > 0 and self._gateway.accepted > 0

    async def _guard_progress(self):
        watchdog = Watchdog(self._clock)
        watchdog.watch("sampler", lambda: self._sampler.samples, _STUCK_MS + 3 * self._sample_ms)
        watchdog.watch("relays", lambda: self._watch.polls, _STUCK_MS)
        watchdog.watch("loop", lambda: self._lag.turns, _STUCK_MS)
        await watchdog.run()

    def _report_relays(self):
        self._sampler.record_relays()
        self._recorder.flush()

    def _health_readings(self):
        return self._health.readings()

    def _health_document(self):
        document = self._health.document()
        document["revision"] = self._revision
        document["trial"] = self._store.trial
        document["refused"] = self._store.refused
        return document
