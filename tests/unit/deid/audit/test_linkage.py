import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deemo_dist.deid.audit.linkage import Template, link

SIZE = 16


def people(count: int, clips: int, *, noise: float, seed: int = 0, blind: bool = False) -> list[Template]:
    """Clips that lie ``noise`` about their person; ``blind``: probes that tell nothing."""
    random = np.random.default_rng(seed)
    made = []
    for person in range(count):
        centre = random.normal(size=SIZE)
        for clip in range(clips):
            face = centre + noise * random.normal(size=SIZE)
            made.append(Template(f"{person:02}{clip:02}", str(person), face, np.zeros(SIZE) if blind else face))
    return made


def test_who_looks_alike_in_all_clips_is_found() -> None:
    found = link(people(8, 4, noise=0.01))
    assert found is not None
    assert (found.people, found.probes, found.chance) == (8, 32, 1 / 8)
    assert found.rank1.value == found.auc == found.cmc[0] == 1.0
    assert found.match is not None
    assert found.match.value == 1.0
    assert found.false_match == 0.0


def test_probes_that_tell_nothing_are_guesses_whatever_the_gallery_looks_like() -> None:
    found = link(people(30, 4, noise=0.01, blind=True))
    assert found is not None
    assert found.rank1.value == pytest.approx(1 / 30)
    assert found.rank1.high < 1 / 30 + 0.10
    assert found.auc == pytest.approx(0.5)
    assert found.match is not None
    assert found.match.value == 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(2, 5), st.floats(0.0, 3.0), st.integers(0, 99))
def test_curves_grow_and_figures_stay_in_bounds(count: int, clips: int, noise: float, seed: int) -> None:
    found = link(people(count, clips, noise=noise, seed=seed), threshold=None)
    assert found is not None
    assert found.match is None
    assert found.cmc[0] == pytest.approx(found.rank1.value)
    assert list(found.cmc) == sorted(found.cmc)
    assert found.cmc[-1] <= 1 + 1e-9
    assert all(
        before <= after
        for pair in zip(found.roc, found.roc[1:], strict=False)
        for before, after in zip(*pair, strict=True)
    )
    assert 0 <= found.auc <= 1


def test_gallery_and_probe_are_never_the_same_clip() -> None:
    random = np.random.default_rng(1)
    unlike = [Template(f"{n}", str(n // 2), vector, vector) for n, vector in enumerate(random.normal(size=(60, SIZE)))]
    found = link(unlike)
    assert found is not None
    assert found.rank1.value < 0.2


def test_people_with_one_clip_are_left_out_and_one_person_is_no_gallery() -> None:
    few = [*people(2, 2, noise=0.01), Template("lonely", "lonely", np.ones(SIZE), np.ones(SIZE))]
    found = link(few)
    assert found is not None
    assert found.people == 2
    assert not found.estimable
    assert link(few[:2]) is None
    assert link([]) is None


def test_a_template_does_not_show_itself() -> None:
    assert "0." not in repr(people(1, 1, noise=1.0))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 3), max_size=4), st.booleans(), st.sampled_from([None, 0.6]))
def test_tiny_galleries_are_estimated_or_said_not_to_be(clips: list[int], alike: bool, threshold: float | None) -> None:
    random = np.random.default_rng(0)
    made = [
        Template(f"{person}{clip}", str(person), *([np.zeros(SIZE)] * 2 if alike else random.normal(size=(2, SIZE))))
        for person, count in enumerate(clips)
        for clip in range(count)
    ]
    found = link(made, threshold=threshold)
    known = [count for count in clips if count > 1]
    assert (found is None) == (len(known) < 2)
    if found is not None:
        assert (found.people, found.probes) == (len(known), sum(known))
        assert not found.estimable
        assert 0 <= found.rank1.low <= found.rank1.value <= found.rank1.high <= 1
        assert np.isfinite([*found.cmc, found.auc]).all()
