"""A station: one machine wired to one node's register file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from andon_workbench.registers import RegisterFile, rom_code
from andon_workbench.world.ledger import PowerCut
from andon_workbench.world.relay import ContactChange, RelayContact

if TYPE_CHECKING:
    from andon_workbench.world.ledger import NodeLedger
    from andon_workbench.world.machine import Machine
    from andon_workbench.world.sensor_faults import SensorFaults

CHANNEL = 0
THERMOCOUPLE_CHANNEL = 1
_MEASURE_EVERY_US = 100_000


@dataclass(frozen=True, slots=True)
class Wiring:
    """GPIO numbers of one node: sensor bus, cycle input, relay coil and the read-back of its contact.

    `closing_level` is the level of the coil's pin at which the contact closes: 0 is a normally closed contact.
    `closed_level` is what its read-back then shows; `sensor` is the sensor's number.
    """

    sensor_bus: int
    cycle_input: int
    relay_coil: int
    relay_contact: int
    closing_level: int = 0
    closed_level: int = 1
    sensor: int = 0
    thermocouple_miso: int = 19
    thermocouple_select: int = 17
    door_input: int = 34


class Station:
    """Couples machine, contact and sensor to the register file, and writes down what happened.

    The relay's normally closed contact lies in the machine's run-enable loop: closed (coil off: also while the node is
    dead) the machine may run, open it stands.

    The shift begins with the node's first reading: a pulse counter does not see what happened before the board set it
    up, on hardware as here, so an earlier cycle would be a cycle that nobody could count.
    """

    def __init__(
        self,
        registers: RegisterFile,
        wiring: Wiring,
        machine: Machine,
        ledger: NodeLedger,
        *,
        faults: SensorFaults | None = None,
        serial: int = 1,
    ) -> None:
        self.registers = registers
        self.machine = machine
        self.contact = RelayContact(round(machine.kind.relay_delay_ms * 1000), closed=wiring.closing_level == 0)
        self.ledger = ledger
        self._wiring = wiring
        self._faults = faults
        ledger.cycles.setdefault(CHANNEL, 0)
        ledger.readings.setdefault(CHANNEL, [])
        registers.set_input(wiring.cycle_input, 1 - machine.kind.pulse.active_level)
        self._show_contact()
        registers.place_sensor(
            wiring.sensor, bus_pin=wiring.sensor_bus, rom=rom_code(serial), raw=machine.measured_raw()
        )
        if machine.kind.thermocouple:
            ledger.readings.setdefault(THERMOCOUPLE_CHANNEL, [])
            registers.place_thermocouple(0, miso=wiring.thermocouple_miso, select=wiring.thermocouple_select)
            self._heat_thermocouple()
        self._measured_us = 0
        self._shift_begun = False
        self._shift_over = False
        # Changes of the coil's pin up to the last loss of power: they drive nothing any more.
        self._undriven = 0
        self._power_lost_us = 0
        self._coil_changes = 0
        # Cycles that had happened at least when the newest two readings were taken, and at the last look at the readings.
        self._cycles_at_reads = (0, 0)
        self._cycles_at_look = 0

    def step(self, now_us: int) -> None:
        """Let the station live until `now_us`."""
        self._move_contact(now_us)
        cycles_before = self.machine.cycles
        edges = self.machine.advance(now_us, released=self.contact.closed)
        self.ledger.cycles[CHANNEL] += self.machine.cycles - cycles_before
        self.registers.publish_edges(self._wiring.cycle_input, edges)
        if now_us - self._measured_us >= _MEASURE_EVERY_US:
            self._measured_us = now_us
            self.registers.set_temperature(self._wiring.sensor, self.machine.measured_raw())
            if self.machine.kind.thermocouple:
                self._heat_thermocouple()
        if self._faults is not None:
            self._faults.apply(self.registers, self._wiring.sensor, now_us)
        self.note_reads()

    def note_reads(self) -> None:
        """Enter the reads that the register file logged since the last look."""
        before = len(self.ledger.readings[CHANNEL])
        for read in self.registers.new_reads(self._wiring.sensor):
            self.ledger.note_read(CHANNEL, read)
        if self.machine.kind.thermocouple:
            for word in self.registers.new_thermocouple_reads(0):
                self.ledger.note_thermocouple(THERMOCOUPLE_CHANNEL, word)
        taken = len(self.ledger.readings[CHANNEL]) - before
        for _ in range(taken):
            self._cycles_at_reads = (self._cycles_at_reads[1], self._cycles_at_look)
        self._cycles_at_look = self.ledger.cycles[CHANNEL]
        if taken and not self._shift_begun and not self._shift_over:
            self._shift_begun = True
            self.machine.start_up()

    def move_door(self, *, is_open: bool) -> None:
        """Open or close the guard door: its contact opens with it, and the input is pulled up."""
        self.registers.set_input(self._wiring.door_input, int(is_open))

    def shut_down(self) -> None:
        """End the shift; it does not begin again."""
        self._shift_over = True
        self.machine.shut_down()

    def cut_power(self, now_us: int) -> None:
        """The board has lost its power, and its machine with it; the next shift begins with the board's next reading."""
        self.step(now_us)
        readings = {channel: len(taken) for channel, taken in self.ledger.readings.items()}
        at_risk = self.ledger.cycles[CHANNEL] - self._cycles_at_reads[0]
        self.ledger.cuts.append(PowerCut(now_us, readings, at_risk))
        self._undriven = self.registers.driven(self._wiring.relay_coil).changes
        self._power_lost_us = now_us
        self._shift_begun = False
        self.machine.shut_down()

    def unplug_sensor(self) -> None:
        """Unplug the sensors for good: no more readings can be taken."""
        self.registers.set_connected(self._wiring.sensor, connected=False)
        if self.machine.kind.thermocouple:
            self.registers.disconnect_thermocouple(0)

    def _heat_thermocouple(self) -> None:
        celsius = self.machine.temperature_c
        self.registers.set_thermocouple(0, tip_raw=round(celsius * 4), junction_raw=25 * 16)

    def _move_contact(self, now_us: int) -> None:
        driven = self.registers.driven(self._wiring.relay_coil)
        # More than one change since the last look: the contact was somewhere where nobody has seen it.
        self.ledger.coil_changes_unseen += max(0, driven.changes - self._coil_changes - 1)
        self._coil_changes = driven.changes
        # A pin that was not driven since the power came on leaves the coil off, as level 0 does.
        is_driven = driven.changes > self._undriven
        level = driven.level if is_driven else 0
        coil_us = driven.changed_us if is_driven else self._power_lost_us
        closing = level == self._wiring.closing_level
        if self.contact.advance(now_us, closing=closing, coil_changed_us=coil_us):
            self._show_contact()
            self.ledger.contacts.append(ContactChange(now_us, CHANNEL, self.contact.closed, coil_us))

    def _show_contact(self) -> None:
        closed_level = self._wiring.closed_level
        self.registers.set_input(self._wiring.relay_contact, closed_level if self.contact.closed else 1 - closed_level)
