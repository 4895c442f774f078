from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon_workbench.errors import RegisterFileError
from andon_workbench.registers import (
    FILE_SIZE,
    RING,
    Edge,
    RegisterFile,
    ScratchpadRead,
    crc8_maxim,
    rom_code,
)


def poke(path: Path, offset: int, data: bytes) -> None:
    """Write as the board does: through the file, not through the class under test."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def peek(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def test_new_file_has_the_documented_header(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with RegisterFile.create(path):
        assert path.stat().st_size == FILE_SIZE
        assert peek(path, 0, 6) == b"ANDR\x01\x00"
        assert peek(path, 8, 2) == struct.pack("<Bb", 1, -58)
        assert [peek(path, 4096 + 128 * sensor, 1) for sensor in range(8)] == [b"\xff"] * 8


def test_crc_of_maxim_application_note_27() -> None:
    # The note's example: family 0x02, serial 0x0000 0001 B81C, CRC 0xA2.
    assert crc8_maxim(bytes.fromhex("021CB801000000")) == 0xA2


@given(st.integers(0, 2**48 - 1))
def test_rom_code_with_its_crc_has_remainder_zero(serial: int) -> None:
    assert crc8_maxim(rom_code(serial)) == 0


@pytest.mark.parametrize(("offset", "data"), [(0, b"NOPE"), (4, b"\x02\x00")])
def test_foreign_file_is_refused(tmp_path: Path, offset: int, data: bytes) -> None:
    path = tmp_path / "r"
    RegisterFile.create(path).close()
    poke(path, offset, data)
    with pytest.raises(RegisterFileError, match="expected magic"):
        RegisterFile(path)


def test_file_of_wrong_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_bytes(b"ANDR")
    with pytest.raises(RegisterFileError, match="262144 bytes, found 4"):
        RegisterFile(path)


@pytest.mark.parametrize("pin", [-1, 48])
def test_pin_out_of_range(tmp_path: Path, pin: int) -> None:
    with RegisterFile.create(tmp_path / "r") as registers, pytest.raises(RegisterFileError, match="GPIO"):
        registers.driven(pin)


@given(
    pin=st.integers(0, 47),
    start=st.integers(0, 2**32 - 1),
    edges=st.lists(st.builds(Edge, st.integers(0, 2**62), st.integers(0, 1)), min_size=1, max_size=300),
)
def test_edges_land_where_the_layout_says(pin: int, start: int, edges: list[Edge]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r"
        with RegisterFile.create(path) as registers:
            poke(path, 64 + 64 * pin + 16, struct.pack("<I", start))
            registers.publish_edges(pin, edges)
            assert peek(path, 64 + 64 * pin + 16, 4) == struct.pack("<I", (start + len(edges)) % 2**32)
            assert peek(path, 64 + 64 * pin, 1) == bytes([edges[-1].level])
            for number, edge in list(enumerate(edges, start))[-RING:]:
                slot = peek(path, 65536 + 2048 * pin + 8 * (number % 256), 8)
                assert slot == struct.pack("<Q", edge.time_us << 1 | edge.level)


@given(
    sensor=st.integers(0, 7),
    start=st.integers(0, 2**32 - 1),
    batches=st.lists(
        st.lists(
            st.builds(ScratchpadRead, st.integers(0, 2**63), st.integers(-880, 2000), st.booleans(), st.booleans()),
            max_size=RING,
        ),
        max_size=4,
    ),
)
def test_every_logged_read_is_seen_once(sensor: int, start: int, batches: list[list[ScratchpadRead]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r"
        with RegisterFile.create(path) as registers:
            registers._taken[sensor] = start
            number = start
            poke(path, 4096 + 128 * sensor + 64, struct.pack("<I", number))
            for batch in batches:
                for read in batch:
                    record = struct.pack("<QhBBI", read.time_us, read.raw, read.clean, read.converted, 0)
                    poke(path, 8192 + 4096 * sensor + 16 * (number % 256), record)
                    number = (number + 1) % 2**32
                poke(path, 4096 + 128 * sensor + 64, struct.pack("<I", number))
                assert list(registers.new_reads(sensor)) == batch
                assert list(registers.new_reads(sensor)) == []


def test_overrun_of_the_reading_log_is_an_error_not_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with RegisterFile.create(path) as registers:
        poke(path, 4096 + 64, struct.pack("<I", RING + 1))
        with pytest.raises(RegisterFileError, match="257 reads of sensor 0"):
            list(registers.new_reads(0))


def test_sensor_fields(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with RegisterFile.create(path) as registers:
        registers.place_sensor(3, bus_pin=4, rom=rom_code(7), raw=-40)
        base = 4096 + 128 * 3
        assert peek(path, base, 2) == b"\x04\x01"
        assert peek(path, base + 4, 2) == struct.pack("<h", -40)
        assert peek(path, base + 8, 8) == rom_code(7)
        poke(path, base + 64, struct.pack("<I", 10))
        registers.flip_next_reads(3, 4)
        assert peek(path, base + 16, 4) == struct.pack("<I", 14)
        registers.brown_out(3)
        assert peek(path, base + 2, 1) == b"\x01"
        registers.set_connected(3, connected=False)
        assert peek(path, base + 1, 1) == b"\x00"


@pytest.mark.parametrize(("asked", "applied"), [(3000, 2000), (-2000, -880), (655, 655)])
def test_temperature_stays_in_the_sensors_range(tmp_path: Path, asked: int, applied: int) -> None:
    path = tmp_path / "r"
    with RegisterFile.create(path) as registers:
        registers.set_temperature(0, asked)
        assert peek(path, 4096 + 4, 2) == struct.pack("<h", applied)


def test_driven_pin_is_what_the_board_wrote(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with RegisterFile.create(path) as registers:
        poke(path, 64 + 64 * 26 + 1, b"\x01\x02")
        poke(path, 64 + 64 * 26 + 8, struct.pack("<Q", 123_456))
        poke(path, 64 + 64 * 26 + 4, struct.pack("<I", 9))
        driven = registers.driven(26)
        assert (driven.level, driven.changes, driven.changed_us) == (1, 9, 123_456)


def test_wifi_and_starts(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with RegisterFile.create(path) as registers:
        registers.set_wifi(reachable=False, rssi_dbm=-90)
        poke(path, 12, struct.pack("<I", 5))
        assert peek(path, 8, 2) == struct.pack("<Bb", 0, -90)
        assert registers.starts == 5


def test_thermocouple_words_and_their_log(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with RegisterFile.create(path) as registers:
        registers.place_thermocouple(1, miso=19, select=17)
        assert peek(path, 5632 + 64, 4) == bytes([1, 19, 17, 1])
        # Data sheet 19-5793, tables 4 and 5: -0.25 degC at the tip, -20 degC in the chip.
        registers.set_thermocouple(1, tip_raw=-1, junction_raw=-20 * 16)
        word = int("11111111111111" + "00" + "111011000000" + "0000", 2)
        assert peek(path, 5632 + 64 + 4, 4) == struct.pack("<I", word)
        poke(path, 163840 + 4096, struct.pack("<QII", 7, word, 0) + struct.pack("<QII", 8, word | 0x10001, 0))
        poke(path, 5632 + 64 + 32, struct.pack("<I", 2))
        assert [(read.time_us, read.raw, read.faulty) for read in registers.new_thermocouple_reads(1)] == [
            (7, -1, False),
            (8, -1, True),
        ]
        assert list(registers.new_thermocouple_reads(1)) == []
        poke(path, 5632 + 64 + 32, struct.pack("<I", 300))
        with pytest.raises(RegisterFileError, match="stopped for too long"):
            list(registers.new_thermocouple_reads(1))
        registers.disconnect_thermocouple(1)
        assert peek(path, 5632 + 64 + 3, 1) == b"\x00"
        with pytest.raises(RegisterFileError, match="SPI device 4"):
            registers.place_thermocouple(4, miso=1, select=2)
