"""Rules of an ontology: bounds on signals, long enough, bridged; what is proposed for known bodies."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.config import NfblTypeConfig, load
from deemo_dist.deid.body.nfbl import check_ontology, frame_scores, propose, spans
from deemo_dist.deid.body.people import Bodies
from deemo_dist.deid.body.pose import Pose
from deemo_dist.deid.body.signals import SIGNALS, signals
from deemo_dist.errors import ConfigError
from tests.unit.deid.body.stand_ins import figure, hand

TIMES = np.arange(40) / 10


@pytest.fixture(scope="module")
def ontology(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NfblTypeConfig]:
    path = tmp_path_factory.mktemp("run") / "run.yaml"
    path.write_text("bases: [ontologies/nfbl]\nname: test\n")
    return dict(load(path).nfbl)


def bodies(left: tuple[float, float] | None, right: tuple[float, float] | None, **more: object) -> Bodies:
    """Somebody whose wrists go to ``left`` and ``right`` (pixels) from 1 to 3 s; None: they hang."""
    poses = {}
    for number in range(0, 40, 2):
        acts = 10 <= number < 30
        points = figure(left if acts else None, right if acts else None)
        poses[number] = Pose(points=points, confidence=np.full(33, 0.9), score=0.9)
    return Bodies(poses=poses, heads={}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("left", "right", "kind"),
    [
        ((104, 78), None, "touching the face"),
        (None, (92, 97), "touching the neck"),
        ((70, 125), (130, 125), "folding the arms"),
        ((108, 205), (92, 205), "resting hands in the lap"),
        ((175, 140), (25, 140), "opening both palms"),
        ((160, 70), None, "raising a hand"),
        ((103, 140), (97, 140), "clasping the hands"),
    ],
)
def test_a_gesture_is_proposed_when_it_happens(
    ontology: dict[str, NfblTypeConfig], left: tuple[float, float], right: tuple[float, float], kind: str
) -> None:
    events = propose(bodies(left, right), TIMES, ontology)
    assert [event.type for event in events] == [kind]
    assert events[0].start == pytest.approx(1.0, abs=0.3)
    assert events[0].end == pytest.approx(2.9, abs=0.3)
    assert events[0].score is not None
    assert 0.5 <= events[0].score <= 1


def test_hanging_arms_unseen_arms_and_nobody_propose_nothing(ontology: dict[str, NfblTypeConfig]) -> None:
    assert propose(bodies(None, None), TIMES, ontology) == ()
    assert propose(Bodies({}, {}), TIMES, ontology) == ()
    seen = bodies((104, 78), (92, 97))
    hidden = {
        number: Pose(points=pose.points, confidence=np.full(33, 0.05), score=0.9) for number, pose in seen.poses.items()
    }
    assert propose(Bodies(hidden, {}), TIMES, ontology) == ()


def test_a_fist_needs_a_hand_that_is_seen_to_be_one(ontology: dict[str, NfblTypeConfig]) -> None:
    for curl, kinds in ((1.0, {"raising a hand", "raising a fist"}), (0.0, {"raising a hand"})):
        hands = {number: (hand(size=18, at=(160, 70), curl=curl),) for number in range(10, 30, 2)}
        events = propose(bodies((160, 70), None, hands=hands), TIMES, ontology)
        assert {event.type for event in events} == kinds


def test_the_ontology_of_ours_is_sound(ontology: dict[str, NfblTypeConfig]) -> None:
    check_ontology(ontology)
    assert {rule.group for rule in ontology.values()} == {
        "self-manipulation",
        "manipulation of objects",
        "self-protective",
        "other",
    }
    assert all(rule.above or rule.below for rule in ontology.values())


def test_a_signal_that_there_is_not_is_named() -> None:
    rule = NfblTypeConfig(group="other", below={"hed": 1.0})
    with pytest.raises(ConfigError, match=r"nfbl.nodding: there is no signal 'hed'") as caught:
        propose(Bodies({}, {}), TIMES, {"nodding": rule})
    assert "head" in str(caught.value.hint)


def test_types_without_bounds_are_never_proposed() -> None:
    assert propose(bodies((104, 78), None), TIMES, {"shrugging": NfblTypeConfig(group="other")}) == ()


def test_every_signal_is_made_and_bounded() -> None:
    made = signals(bodies((104, 78), (92, 97)), TIMES)
    assert set(made) == set(SIGNALS)
    assert all(values.shape == (40, 2) for values in made.values())
    assert all(np.isfinite(values).all() for name, values in made.items() if name != "curled")
    assert np.isnan(made["curled"]).all()


def test_signals_do_not_depend_on_place_and_size() -> None:
    seen = bodies((104, 78), (70, 125))
    moved = {
        number: Pose(points=pose.points * 2.5 + 70, confidence=pose.confidence, score=0.9)
        for number, pose in seen.poses.items()
    }
    first, second = signals(seen, TIMES), signals(Bodies(moved, {}), TIMES)
    for name in SIGNALS:
        assert np.allclose(first[name], second[name], equal_nan=True), name


def test_restlessness_is_movement_to_and_fro() -> None:
    poses = {}
    for number in range(40):
        points = figure((150 + 8 * (number % 4 in (1, 2)), 150), (20 + 2 * number, 150))
        poses[number] = Pose(points=points, confidence=np.full(33, 0.9), score=0.9)
    made = signals(Bodies(poses, {}), TIMES)
    shaken, carried = made["restless"][10:30].mean(axis=0)
    assert shaken > 3 * carried


@given(
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.floats(0, 1),
)
def test_spans_cover_what_holds_and_are_apart(holds: list[bool], bridge: float) -> None:
    times = np.arange(len(holds)) / 8
    found = spans(np.array(holds), times, bridge=bridge)
    inside = np.zeros(len(holds), dtype=bool)
    for start, end in found:
        assert holds[start] and holds[end]
        inside[start : end + 1] = True
    assert inside[np.array(holds)].all()
    for (_, end), (start, _) in itertools.pairwise(found):
        assert times[start] - times[end] >= bridge


def test_the_worst_bound_counts_and_the_unknown_fits_nothing() -> None:
    seen = {
        "head": np.array([[0.0, 5.0], [0.0, 0.0], [1.0, 9.0]]),
        "visible": np.array([[1, 1], [0, np.nan], [1, 1.0]]),
    }
    one = NfblTypeConfig(group="other", below={"head": 1.0}, above={"visible": 0.5})
    both = NfblTypeConfig(group="other", hands="both", below={"head": 1.0}, above={"visible": 0.5})
    assert frame_scores(one, seen).tolist() == [1.0, 0.0, 0.5]
    assert frame_scores(both, seen).tolist() == [0.0, 0.0, 0.0]
