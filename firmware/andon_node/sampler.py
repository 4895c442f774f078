"""Takes the readings: every sample_ms all sensors once, in one pack."""

import asyncio
import gc

from micropython import const

from andon_node.drivers import OK

# Health of the node goes with the first sample and then every 10 s.
_HEALTH_MS = const(10000)
# However seldom a sample is taken, pulse counters are asked so often (drivers/pulse.py).
_KEEP_UP_MS = const(30000)


class Sampler:
    """Reads the drivers and the relays' contacts and records what they say.

    Attributes:
        samples: How many were taken.
        on_sample: Called when all drivers of a sample were read, before anything is sent.
        newest: Name -> (unit, value, monotonic ms when it was taken) of every reading that a driver ever gave.
    """

    def __init__(self, sample_ms, drivers, relays, health, recorder, clock):
        """Take the drivers; `health()` yields (name, unit, value) about the node itself."""
        self.samples = 0
        self.on_sample = None
        self.newest = {}
        self._sample_ms = sample_ms
        self._drivers = drivers
        self._relays = relays
        self._health = health
        self._recorder = recorder
        self._clock = clock
        self._relay_names = ["relay/%d" % relay.channel for relay in relays]
        self._faults = {}
        self._health_due_ms = 0

    async def run(self):
        """Sample for ever, in step with the clock: one late sample does not delay the ones after it."""
        due = self._clock.monotonic_ms()
        while True:
            await self.sample()
            due += self._sample_ms
            now = self._clock.monotonic_ms()
            due = max(due, now)
            while due - now > _KEEP_UP_MS:
                await asyncio.sleep_ms(_KEEP_UP_MS)
                for driver in self._drivers:
                    if hasattr(driver, "keep_up"):
                        driver.keep_up()
                now = self._clock.monotonic_ms()
            await asyncio.sleep_ms(max(0, due - now))

    async def sample(self):
        """Take one sample of everything and queue it."""
        wait_ms = 0
        for driver in self._drivers:
            wait_ms = max(wait_ms, driver.prepare())
        if wait_ms:
            await asyncio.sleep_ms(wait_ms)
        for driver in self._drivers:
            self.record(driver)
        if self.on_sample is not None:
            self.on_sample()
        self.record_relays()
        if self._clock.monotonic_ms() >= self._health_due_ms:
            self._health_due_ms = self._clock.monotonic_ms() + _HEALTH_MS
            gc.collect()
            for name, unit, value in self._health():
                self._recorder.record(name, unit, value)
        self._recorder.flush_due()
        self.samples += 1

    def record(self, driver):
        """Record what a driver reads, and its fault if that changed."""
        for name, unit, value in driver.read():
            self.newest[name] = (unit, value, self._clock.monotonic_ms())
            self._recorder.record(name, unit, value)
        if driver.fault != self._faults.get(driver.name, OK):
            self._faults[driver.name] = driver.fault
            self._recorder.record(driver.name + "/fault", None, driver.fault)

    def report(self, driver):
        """Record what a driver has to say between samples, and send it."""
        self.record(driver)
        self._recorder.flush()

    def record_relays(self):
        """Record what the contacts do now."""
        for index, relay in enumerate(self._relays):
            self._recorder.record(self._relay_names[index], None, relay.contact())
