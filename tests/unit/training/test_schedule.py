import pytest
from hypothesis import given
from hypothesis import strategies as st

from deemo_dist.errors import ConfigError, TrainingError
from deemo_dist.training import factor, micro_steps

KINDS = st.sampled_from(["cosine", "constant", "wsd"])


@given(total=st.integers(1, 3000), kind=KINDS, warmup=st.floats(0, 0.99), data=st.data())
def test_factor_lies_in_its_bounds_and_rises_then_never_rises(total, kind, warmup, data):
    step = data.draw(st.integers(0, total - 1))
    here = factor(step, total, kind=kind, warmup=warmup)
    assert 0.0 < here <= 1.0
    warm = -(-warmup * total // 1)
    if step + 1 < total:
        after = factor(step + 1, total, kind=kind, warmup=warmup)
        assert after >= here if step + 1 < warm else after <= here + 1e-12 or step < warm


def test_known_points():
    assert factor(0, 100, kind="cosine", warmup=0.1) == pytest.approx(0.1)
    assert factor(10, 100, kind="cosine", warmup=0.1) == 1.0
    assert factor(55, 100, kind="cosine", warmup=0.1) == pytest.approx(0.5)
    assert factor(99, 100, kind="constant", warmup=0.1) == 1.0
    assert factor(79, 100, kind="wsd", warmup=0.1) == 1.0
    assert factor(90, 100, kind="wsd", warmup=0.1) == pytest.approx(0.5)


@pytest.mark.parametrize("warmup", [-0.1, 1.0, 3.0])
def test_warmup_that_is_no_share_is_refused(warmup):
    with pytest.raises(ConfigError, match="warmup"):
        factor(0, 10, kind="cosine", warmup=warmup)


@given(st.integers(1, 500), st.integers(1, 500))
def test_micro_steps_hold_all_packs_and_no_more_than_needed(packs, world):
    if world > packs:
        with pytest.raises(TrainingError, match="ranks"):
            micro_steps(packs, world)
        return
    micro = micro_steps(packs, world)
    assert micro * world >= packs > (micro - 1) * world
