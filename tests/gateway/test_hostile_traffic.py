"""The real gateway under fuzzed datagrams and packs, beside well-behaved nodes: a small run of `make fuzz` (bench/fuzz)."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from andon_gateway.errors import PackRefused
from andon_gateway.senml.pack import MAX_PACK_BYTES, Pack, decode_pack
from bench.fuzz.campaign import Campaign, run, uncaught
from bench.fuzz.datagrams import Attacker
from bench.fuzz.senml_packs import PackFuzzer
from bench.gateway.oscore_nodes import keys

if TYPE_CHECKING:
    from pathlib import Path

MOST_GROWTH_KB = 64 * 1024
"""Caches that fill with the first few thousand messages; a leak of the whole payload of each would be well above."""
SUPPORTED = (110, 112)


@pytest.mark.timeout(240)
def test_the_gateway_outlives_hostile_traffic(tmp_path: Path) -> None:
    usable = sorted(os.sched_getaffinity(0))
    campaign = Campaign(datagrams=4000, packs=1000, seed=random.randrange(1 << 30), per_s=1000.0, quiet_s=2.0)
    outcome = run(campaign, tmp_path, (usable[0], usable[-1]), print)
    assert outcome.uncaught == {}, f"seed {campaign.seed}"
    assert outcome.hung == "", f"seed {campaign.seed}"
    assert outcome.good_answered > 0
    assert outcome.good_lost == 0, f"seed {campaign.seed}"
    assert sum(outcome.answers["pack_answers"].values()) == campaign.packs, "each pack is answered once"
    assert "5.00" not in outcome.answers["pack_answers"] | outcome.answers["datagram_answers"]
    assert outcome.rss_kb["after"] - outcome.rss_kb["before"] < MOST_GROWTH_KB, f"seed {campaign.seed}"


def test_the_fuzzed_packs_reach_both_sides_of_every_check() -> None:
    """A fuzzer whose packs all fail at the first byte would prove nothing."""
    source, accepted, partly, refused = PackFuzzer(random.Random(1)), 0, 0, set()
    for _ in range(4000):
        content_format, payload = source.next()
        if content_format not in SUPPORTED or len(payload) > MAX_PACK_BYTES:
            continue
        try:
            pack: Pack = decode_pack(payload, content_format, 1_764_000_000_000)
        except PackRefused as refusal:
            refused.add(str(refusal).split(":")[0][:30])
            continue
        accepted += 1
        partly += bool(pack.rejected)
    assert accepted > 400
    assert partly > 100
    assert len(refused) >= 5


def test_the_campaign_is_repeatable_and_finds_exceptions(tmp_path: Path) -> None:
    def some(seed: int) -> list[bytes]:
        attacker = Attacker(random.Random(seed), keys(999), 1_764_000_000_000)
        return [attacker.next() for _ in range(300)]

    assert some(1) == some(1) != some(2)
    log = tmp_path / "gateway.log"
    log.write_text(
        "time=1 level=INFO logger=x an Error: that is only talked about\n"
        "time=2 level=ERROR logger=asyncio Exception in callback f()\n    Traceback (most recent call last):\n"
        '      File "f.py", line 1, in f\n    ValueError: no\ntime=3 level=ERROR logger=x the cloud is gone\n'
    )
    assert uncaught(log) == {"ValueError: no": 1, "level=ERROR logger=x the cloud is gone": 1}
