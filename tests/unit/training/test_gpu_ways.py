"""What trainings on GPUs are set to, on real ranks of gloo: bf16 over the real model, ZeRO++'s second partition, and
state in the host's memory."""

import pytest

pytestmark = pytest.mark.slow

REAL = {
    "real": {"lacking": ["audio"]},
    "trains": {"*_projector*": {"lr": 1e-3, "weight_decay": 0.1}, "language_model*": {"lr": 3e-4}},
    "steps": 4,
    "packs": 2,
}
NEVER = 1e6
"""A norm that no gradient has: none is clipped."""


def resumed(ranks, plan):
    """The same job, stopped by a signal after its second step and begun again: its losses to the bit."""
    assert ranks(2, "stopped", **plan, term_step=1).codes == [75, 75]
    again = ranks(2, "stopped", **plan)
    assert again.codes == [0, 0], again.output()
    first, second = [row["start"] for row in again.rows() if "start" in row]
    assert first == 0 and second > 1
    return again.hexes()


@pytest.mark.parametrize("more", [{}, {"gradient_checkpointing": True, "partition_at_build": True}])
def test_the_real_model_in_bf16_learns_the_same_on_one_rank_and_two_and_resumes_to_the_bit(ranks, more):
    plan = {**REAL, **more, "precision": "bf16"}
    whole, alone = ranks(2, "whole", **plan), ranks(1, "alone", **plan)
    assert whole.codes == [0, 0], whole.output()
    assert alone.codes == [0], alone.output()
    pairs = list(zip(whole.losses(), alone.losses(), strict=True))
    assert len(pairs) == 4 and max(abs(a - b) / abs(b) for a, b in pairs) < 0.01
    assert all(step["norm"] > 0 and not step["skipped"] for step in whole.steps().values())
    assert resumed(ranks, plan) == whole.hexes()


@pytest.mark.parametrize("way", [{"hpz": 2}, {"offload": "cpu"}], ids=["hpz", "offload"])
@pytest.mark.parametrize("more", [{"partition_at_build": True}, {**REAL, "precision": "bf16"}], ids=["tiny", "real"])
def test_where_parameters_are_kept_changes_no_loss_and_resumes_to_the_bit(ranks, more, way):
    """Cut a second time among the ranks of a node, or offloaded to the host's memory. Offloaded, no gradient is clipped
    here: DeepSpeed then adds up their norm in float32 and not in float64, so that what it clips by differs in the
    eighth digit."""
    more = {**more, "max_grad_norm": NEVER} if "offload" in way else more
    plain, whole = ranks(2, "plain", **more), ranks(2, "whole", **more, **way)
    assert plain.codes == [0, 0], plain.output()
    assert whole.codes == [0, 0], whole.output()
    assert whole.hexes() == plain.hexes()
    assert resumed(ranks, {**more, **way}) == whole.hexes()


@pytest.mark.parametrize("more", [{"partition_at_build": True}, {**REAL, "precision": "bf16"}], ids=["tiny", "real"])
def test_offloading_with_clipped_gradients_learns_the_same_and_resumes_to_the_bit(ranks, more):
    plain, whole = ranks(2, "plain", **more), ranks(2, "whole", **more, offload="cpu")
    assert plain.codes == [0, 0], plain.output()
    assert whole.codes == [0, 0], whole.output()
    norms = [[step["norm"] for step in job.steps().values()] for job in (plain, whole)]
    assert max(norms[0]) > 1.0
    assert norms[1][0] == pytest.approx(norms[0][0], rel=1e-6)
    assert whole.losses() == pytest.approx(plain.losses(), rel=1e-3 if more.get("precision") else 1e-6)
    assert resumed(ranks, {**more, "offload": "cpu"}) == whole.hexes()
