from dataclasses import replace

import numpy as np
import pytest

from deemo_dist.config import GatesConfig
from deemo_dist.deid.audit.clip import ClipFinding, looks
from deemo_dist.deid.audit.figures import (
    ALIKE,
    CLEAR,
    HEAD,
    Attack,
    AuditFigures,
    Words,
    face_attacks,
    judge,
    picture_attack,
    residual,
    spread,
    true_coverage,
)
from deemo_dist.deid.audit.linkage import Linkage, Template, link
from deemo_dist.deid.audit.statistics import share

GATES = GatesConfig(face_match=0.0, rank1_over_chance=0.10, pii_recall=0.95)


def attacked(people: int, *, told: bool, clips: int = 4) -> Linkage:
    random = np.random.default_rng(3)
    centres = random.normal(size=(people, 16))
    made = [
        Template(f"{p:03}{c}", str(p), centres[p] + 5 * (not told), centres[p] if told else np.full(16, 50.0))
        for p in range(people)
        for c in range(clips)
    ]
    found = link(made)
    assert found is not None
    return found


def figures(linkage: Linkage | None, **changes: object) -> AuditFigures:
    made = AuditFigures(
        dataset="toy v1", policy="strict", faces="fill", voice="prosody", clips=4, people=2, looks=8,
        detector="a detector", reader="a reader", residual=share({"a": [0.0] * 8}), sensitivity=share({"a": [1.0] * 8}),
        correlation=spread([0.0]), coverage=None, picture=None, words=None, utility={},
        attacks=tuple(Attack(kind="released", gallery=gallery, linkage=linkage) for gallery in (CLEAR, ALIKE)),
    )  # fmt: skip
    return replace(made, **changes)


def outcomes(found: AuditFigures, gates: GatesConfig = GATES) -> list[str]:
    return [verdict.outcome for verdict in judge(found, gates)]


def test_what_tells_nothing_passes_with_people_enough() -> None:
    assert outcomes(figures(attacked(60, told=False)))[:3] == ["passed"] * 3


def test_what_tells_all_fails_even_with_few_people() -> None:
    assert outcomes(figures(attacked(6, told=True)))[:3] == ["failed"] * 3


def test_who_is_told_by_hair_and_jaw_alone_fails_too() -> None:
    found = figures(attacked(60, told=False))
    heads = [replace(attack, crop=HEAD, linkage=attacked(60, told=True)) for attack in found.attacks]
    for attacks in ([*found.attacks, *heads], [*heads, *found.attacks]):
        verdicts = judge(replace(found, attacks=tuple(attacks)), GATES)[:3]
        assert [verdict.outcome for verdict in verdicts] == ["failed"] * 3
        assert all("by the head" in verdict.measured for verdict in verdicts)


@pytest.mark.parametrize("linkage", [None, attacked(3, told=True)])
def test_too_few_people_say_nothing_of_ranks(linkage: Linkage | None) -> None:
    assert outcomes(figures(linkage))[1:3] == ["not estimable"] * 2


def test_guessing_among_few_is_not_held_against_the_data_set() -> None:
    assert "failed" not in outcomes(figures(attacked(8, told=False, clips=2)))


def test_names_that_are_left_fail_the_data_set() -> None:
    words = Words(there=40, recall=share({"a": [1.0] * 30 + [0.0] * 10}))
    assert outcomes(figures(None, words=words))[-1] == "failed"
    assert outcomes(figures(None, words=replace(words, recall=share({"a": [1.0] * 40}))))[-1] == "passed"
    assert outcomes(figures(None))[-1] == "not estimable"


def test_of_names_known_and_found_the_worse_counts() -> None:
    gone, left = share({"a": [1.0] * 40}), share({"a": [1.0] * 30 + [0.0] * 10})
    for words in (
        Words(there=40, recall=gone, found=40, found_recall=left),
        Words(there=40, recall=left, found=40, found_recall=gone),
        Words(there=0, recall=share({}), found=40, found_recall=left),
    ):
        assert outcomes(figures(None, words=words))[-1] == "failed"
    for words in (
        Words(there=40, recall=gone, found=40, found_recall=gone),
        Words(there=0, recall=share({}), found=40, found_recall=gone),
    ):
        assert outcomes(figures(None, words=words))[-1] == "passed"


def test_a_policy_without_gates_is_judged_by_none() -> None:
    assert judge(figures(attacked(6, told=True)), GatesConfig()) == ()


@pytest.mark.parametrize("frames", [0, 1, 2, 17, 18, 500])
def test_looks_are_spread_and_inside_the_clip(frames: int) -> None:
    found = looks(frames)
    assert len(found) == min(frames, 18)
    assert list(found) == sorted(set(found))
    assert all(0 <= number < frames for number in found)


def finding(number: int, subject: int, *, seen: bool) -> ClipFinding:
    """A clip with a face that says nothing, or without one."""
    face = {"none": np.ones(4), "released": np.zeros(4)} if seen else {}
    return ClipFinding(
        key=f"{number}", subject=f"{subject}", looks=int(seen), seen=int(seen), residual=0, correlations=(),
        coverage=(), faces=face, heads=face, picture=np.zeros(8), still=np.zeros((4, 4, 3), dtype=np.uint8),
    )  # fmt: skip


@pytest.mark.parametrize("clips", [[], [1], [3], [1, 1], [2, 1], [2, 2]])
@pytest.mark.parametrize("seen", [True, False])
def test_hardly_anything_to_attack_is_not_estimable_and_no_error(clips: list[int], seen: bool) -> None:
    people = [person for person, count in enumerate(clips) for _ in range(count)]
    found = [finding(number, person, seen=seen) for number, person in enumerate(people)]
    attacks = face_attacks(found)
    assert all((attack.linkage is None) == (not seen or clips != [2, 2]) for attack in attacks)
    assert (picture_attack(found) is None) == (clips != [2, 2])
    assert residual(found).high >= 0.6
    assert true_coverage(found) is None
    assert "passed" not in outcomes(replace(figures(None), attacks=attacks))[1:]
