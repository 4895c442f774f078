"""A bundle on its way into the spare slot: good ones run, bad ones change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from firmware.update.vm import SITE_KEY, UpdateBoard, small_bundle, small_files

from andon_workbench.bundle.format import PREFIX_BYTES, Bundle
from andon_workbench.bundle.keys import sign

if TYPE_CHECKING:
    from collections.abc import Callable


def test_good_bundle_runs_on_trial_and_is_confirmed(board: UpdateBoard) -> None:
    bundle = small_bundle("1.1.0")
    assert board.call("update", board.file(bundle), "1.1.0")["outcome"] == "activated"
    board.call("power")
    assert board.call("start") == "app_a"
    assert board.slot_files("app_a") == bundle.files
    assert board.call("state")["trial"] == 1
    board.call("confirm")
    board.call("power")
    assert board.call("start") == "app_a"
    assert board.call("state") == {
        "active": "app_a",
        "previous": "",
        "trial": None,
        "crashes": 0,
        "last": "confirmed",
    }


def test_slots_take_turns(board: UpdateBoard) -> None:
    running = "1.0.0"
    for version, slot in [("1.1.0", "app_a"), ("1.2.0", "app_b"), ("1.3.0", "app_a")]:
        found = board.call("update", board.file(small_bundle(version)), version, running=running)
        assert found["outcome"] == "activated"
        board.call("power")
        assert board.call("start") == slot
        board.call("confirm")
        running = version
    assert board.slot_files("app_a") == small_files("1.3.0")
    assert board.slot_files("app_b") == small_files("1.2.0")


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(32))
BAD: dict[str, tuple[Callable[[Bundle], Bundle | bytes], str]] = {
    "unsigned": (lambda bundle: replace(bundle, signature=bytes(64)), "signature"),
    "signed by a stranger": (lambda bundle: sign(bundle, STRANGER), "signature"),
    "flipped magic": (lambda bundle: flipped(bundle.encode(), 3), "no bundle"),
    "flipped length": (lambda bundle: flipped(bundle.encode(), 9), "signature"),
    "flipped signature": (lambda bundle: flipped(bundle.encode(), 20), "signature"),
    "flipped manifest": (lambda bundle: flipped(bundle.encode(), PREFIX_BYTES + 20), "signature"),
    "flipped first file": (lambda bundle: flipped(bundle.encode(), PREFIX_BYTES + len(bundle.manifest())), "SHA-256"),
    "flipped last byte": (lambda bundle: flipped(bundle.encode(), len(bundle.encode()) - 1), "SHA-256"),
    "cut off in the head": (lambda bundle: bundle.encode()[:200], "cut off"),
    "cut off in a block": (lambda bundle: bundle.encode()[:-1], "cut off"),
    "cut off between blocks": (lambda bundle: bundle.encode()[:4096], "cut off"),
    "empty": (lambda _: b"", "gateway: 4.00"),
    "no bundle": (lambda _: b"import os" * 500, "no bundle"),
    "older": (lambda bundle: sign(replace(bundle, version="0.9.0"), SITE_KEY), "version"),
    "same version": (lambda bundle: sign(replace(bundle, version="1.0.0"), SITE_KEY), "version"),
    "other .mpy version": (lambda bundle: sign(replace(bundle, mpy="7"), SITE_KEY), "mpy"),
    "other architecture": (lambda bundle: sign(replace(bundle, arch="xtensawin"), SITE_KEY), "arch"),
    "a file of the base": (
        lambda bundle: sign(replace(bundle, files={**bundle.files, "andon_base/slots.mpy": b"x"}), SITE_KEY),
        "andon_base/slots.mpy",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_bundle_changes_nothing(board: UpdateBoard, case: str) -> None:
    make, why = BAD[case]
    bad = make(small_bundle("1.1.0"))
    wanted = bad.version if isinstance(bad, Bundle) else "1.1.0"
    found = board.call("update", board.file(bad), wanted)
    assert found["outcome"] == "failed"
    assert why in found["why"]
    board.call("power")
    assert board.call("start") == ""
    assert board.call("state")["trial"] is None
    left = [path for path, _ in board.call("tree") if "andon_node/" in path or path.startswith("update")]
    assert left == []
    # And it can still take a good one.
    assert board.call("update", board.file(small_bundle("1.1.0")), "1.1.0")["outcome"] == "activated"


def test_names_that_leave_the_slot_are_refused(board: UpdateBoard) -> None:
    for name in ("andon_node/../../boot.mpy", "../boot.mpy", "/boot.mpy", "andon_node//x.mpy"):
        head = small_bundle("1.1.0").manifest().splitlines(keepends=True)[:6]
        text = b"".join([*head, f"file {name} 1 {'00' * 32}\n".encode()])
        data = b"ANDONFW1" + len(text).to_bytes(2, "big") + SITE_KEY.sign(text) + text + b"x"
        found = board.call("update", board.file(data), "1.1.0")
        assert (found["outcome"], "manifest" in found["why"]) == ("failed", True)


def test_downgrade_needs_the_manifest_to_say_so(board: UpdateBoard) -> None:
    refused = board.call("update", board.file(small_bundle("0.9.0")), "0.9.0")
    assert "not newer than the running 1.0.0" in refused["why"]
    allowed = small_bundle("0.9.0", downgrade=True)
    assert board.call("update", board.file(allowed), "0.9.0")["outcome"] == "activated"


def test_another_version_than_asked_for_is_refused(board: UpdateBoard) -> None:
    found = board.call("update", board.file(small_bundle("1.2.0")), "1.1.0")
    assert (found["outcome"], found["why"]) == ("failed", "version: the bundle is 1.2.0")


def test_second_update_during_validation_is_refused(board: UpdateBoard) -> None:
    board.call("update", board.file(small_bundle("1.1.0")), "1.1.0")
    board.call("power")
    assert board.call("start") == "app_a"
    found = board.call("update", board.file(small_bundle("1.2.0")), "1.2.0", running="1.1.0")
    assert found["refused"] == 0x89
    assert "on trial" in found["why"]
    board.call("confirm")
    found = board.call("update", board.file(small_bundle("1.2.0")), "1.2.0", running="1.1.0")
    assert found["outcome"] == "activated"


def test_without_the_sites_key_there_is_no_update(vm: UpdateBoard) -> None:
    vm.fresh(key=None)
    found = vm.call("update", vm.file(small_bundle("1.1.0")), "1.1.0")
    assert found["refused"] == 0x8C
    assert "provision" in found["why"]


@pytest.mark.parametrize("free", [0, 2, 8])
def test_full_flash_fails_the_update_alone(vm: UpdateBoard, free: int) -> None:
    vm.fresh()
    vm.call("fill", free)
    if free < 8:
        # Not even the note about the job fits: the request is answered with 5.00.
        with pytest.raises(RuntimeError, match="28"):
            vm.call("update", vm.file(small_bundle("1.1.0")), "1.1.0")
    else:
        found = vm.call("update", vm.file(small_bundle("1.1.0")), "1.1.0")
        assert (found["outcome"], "flash" in found["why"]) == ("failed", True)
    vm.call("power")
    assert vm.call("start") == ""
