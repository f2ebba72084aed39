"""Units on their way to a worker: who is in them cannot be told from their order."""

from dataclasses import replace

from deemo_dist.config import RunConfig
from deemo_dist.deid import KeyRing
from deemo_dist.records import Clip
from pipelines.sealed import SealedUnit, units_of

PEOPLE = ("Adams", "Baker", "Chen", "Diaz", "Evans", "Fox")
CLIPS = [
    Clip(uri=f"file:///raw/{name}/{number}.mp4", subject=name, split="train", source="s", size_bytes=10)
    for name in PEOPLE
    for number in range(20)
]


def test_a_roster_does_not_tell_whose_a_row_is(config: RunConfig) -> None:
    ring = KeyRing.open(config.keys, dataset="demo")
    rows = [clip for unit in units_of(CLIPS, ring, 45) for clip in unit.clips]
    keys = [ring.sample_key(clip.uri) for clip in rows]
    assert keys == sorted(keys) and {clip.uri for clip in rows} == {clip.uri for clip in CLIPS}
    led_back = sum(clip.subject == PEOPLE[place // 20] for place, clip in enumerate(rows))
    assert led_back < 50  # 20 by chance, all 120 in the manifest's order


def test_the_order_of_the_manifest_makes_no_difference(config: RunConfig) -> None:
    ring = KeyRing.open(config.keys, dataset="demo")
    assert units_of(CLIPS[::-1], ring, 45) == units_of(CLIPS, ring, 45)


def test_datasets_of_one_manifest_cannot_be_joined_by_their_order(config: RunConfig) -> None:
    ring = KeyRing.open(config.keys, dataset="demo")
    one, other = (
        [clip for unit in units_of(CLIPS, each, 45) for clip in unit.clips] for each in (ring, ring.of("other"))
    )
    assert sum(a == b for a, b in zip(one, other, strict=True)) < 20


def test_a_sealed_unit_is_opened_by_its_key(config: RunConfig) -> None:
    ring = KeyRing.open(config.keys, dataset="demo")
    unit = units_of(CLIPS, ring, 45)[0]
    sealed = SealedUnit.of(replace(unit, index=3), ring)
    assert sealed.index == 3 and sealed.open(ring) == replace(unit, index=3)
