"""Interlocks: relays that follow a reading at every sample, without any network, whatever was commanded."""

import json

from micropython import const

from andon_node import flash
from andon_node.coap import message as coap
from andon_node.coap.response import Response

_JSON = const(50)
# Samples may be late by this much before they count as missing.
_LATE_MS = const(5000)


class Interlock:
    """One rule.

    Attributes:
        holding: Whether it holds its relay now.
        why: In words.
    """

    def __init__(self, number, item, relay):
        self.number = number
        self.relay = relay
        self.state = item.state
        self.channel = item.channel
        self.latching = item.latching
        self._above = item.above
        self._below = item.below
        self._clear = item.clear
        self._trip_on_fault = item.trip_on_fault
        # Until the first reading nobody knows; the relay is in its safe state and stays there.
        self.exceeded = item.trip_on_fault
        self.latched = False
        self.why = "interlock %d holds: no reading of %s yet" % (number, self.channel)

    def key(self):
        """What a latch belongs to: it does not outlive a change of the rule."""
        threshold = "above %r" % self._above if self._above is not None else "below %r" % self._below
        return "%s %s relay %d" % (self.channel, threshold, self.relay.channel)

    def holds(self):
        """Whether it holds its relay."""
        return self.exceeded or self.latched

    def take(self, reading, since_ms):
        """Judge the newest reading, (unit, value, monotonic ms) or None; one from before `since_ms` is none."""
        value = None if reading is None or reading[2] < since_ms else reading[1]
        # Not a number is no reading either.
        if value is None or value != value:  # noqa: PLR0124 - what NaN is told by
            if self._trip_on_fault:
                self._trip("no reading of %s" % self.channel)
        elif self._above is not None:
            if value > self._above:
                self._trip("%s is %s, above %s" % (self.channel, value, self._above))
            elif self._clear is None or value < self._clear:
                self.exceeded = False
        elif value < self._below:
            self._trip("%s is %s, below %s" % (self.channel, value, self._below))
        elif self._clear is None or value > self._clear:
            self.exceeded = False

    def _trip(self, why):
        self.why = "interlock %d holds: %s" % (self.number, why)
        self.exceeded = True
        self.latched = self.latching

    def status(self):
        """What it does, for people."""
        holds = self.holds()
        return {
            "relay": self.relay.channel,
            "state": self.state,
            "holds": holds,
            "latched": self.latched,
            "why": self.why if holds else None,
        }


class Interlocks:
    """All interlocks of a node.

    Args:
        items: `InterlockConfig`s.
        relays: The relays by channel.
        newest: Newest readings by name, as the sampler keeps them.
        sample_ms: How often there is one.
        clock: Monotonic time.
        path: Where latches survive a power cut.
    """

    def __init__(self, items, relays, newest, sample_ms, clock, path="latched.txt"):
        self._newest = newest
        self._overdue_ms = 2 * sample_ms + _LATE_MS
        self._clock = clock
        self._path = path
        self._judged_ms = 0
        self.rules = [Interlock(number, item, relays[item.relay]) for number, item in enumerate(items)]
        self._kept = self._read()
        for rule in self.rules:
            if rule.key() in self._kept:
                rule.latched = True
                rule.why = "interlock %d is latched since before the start" % rule.number
        self._apply(started=False)

    def _read(self):
        if not self.rules:
            return []
        try:
            with open(self._path) as file:
                return file.read().splitlines()
        except (OSError, UnicodeError):
            return []

    def judge(self):
        """Judge all readings of the sample that was just taken."""
        now = self._clock.monotonic_ms()
        for rule in self.rules:
            rule.take(self._newest.get(rule.channel), self._judged_ms)
        self._judged_ms = now
        self._apply()

    def watch(self):
        """Between samples: if they do not come any more, readings are missing."""
        if self.rules and self._clock.monotonic_ms() - self._judged_ms > self._overdue_ms:
            self.judge()

    def _apply(self, started=True):
        for rule in self.rules:
            if rule.holds():
                # Before the first sample the relay is held where it is: in its safe state.
                state = rule.state if started or rule.latched else rule.relay.safe
                if rule.relay.state() != state:
                    print(rule.why)
                rule.relay.hold(state, rule.why, started or rule.latched)
            elif not any(other.relay is rule.relay and other.holds() for other in self.rules):
                rule.relay.release()
        self._keep()

    def _keep(self):
        latched = [rule.key() for rule in self.rules if rule.latched]
        if latched != self._kept:
            self._kept = latched
            try:
                flash.write_atomically(self._path, "\n".join(latched))
            except OSError as error:
                print("interlocks: latch not on flash:", error)

    def reset(self, rule):
        """Take a latch back; return whether the rule lets its relay go."""
        if rule.exceeded:
            return False
        rule.latched = False
        self._apply()
        return True

    def links(self):
        """What there is, as RFC 6690 links."""
        return ["</interlock/%d>;ct=50" % rule.number for rule in self.rules]

    async def handle(self, request, path):
        """Serve /interlock/{n}."""
        if len(path) != 2 or not path[1].isdigit() or int(path[1]) >= len(self.rules):
            return Response(coap.NOT_FOUND, "expected /interlock/{n} with a number below %d" % len(self.rules))
        rule = self.rules[int(path[1])]
        if request.code == coap.GET:
            return Response(coap.CONTENT, json.dumps(rule.status()), _JSON)
        if request.code != coap.PUT:
            return Response(coap.METHOD_NOT_ALLOWED, "expected GET or PUT")
        try:
            good = json.loads(request.payload)["reset"] is True
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            return Response(coap.BAD_REQUEST, 'expected {"reset": true}')
        if not self.reset(rule):
            return Response(coap.CONFLICT, rule.why)
        return Response(coap.CHANGED, json.dumps(rule.status()), _JSON)
