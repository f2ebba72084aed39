"""Rank and world from any launcher's variables."""

import pytest

from deemo_dist.environ import placement
from deemo_dist.errors import DeemoError


def test_alone_without_variables() -> None:
    place = placement({})
    assert (place.rank, place.world, place.launcher) == (0, 1, "single")


def test_torchrun() -> None:
    place = placement({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "7"})
    assert (place.rank, place.world, place.local_rank, place.master_addr, place.master_port) == (3, 4, 1, "a", 7)


def test_torchrun_wins_over_slurm() -> None:
    env = {"RANK": "0", "WORLD_SIZE": "2", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_NTASKS": "8"}
    assert placement(env).world == 2


def test_a_slurm_step_counts() -> None:
    env = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0", "MASTER_ADDR": "n1"}
    place = placement({**env, "SLURM_JOB_ID": "12345"})
    assert (place.rank, place.world, place.launcher) == (1, 2, "slurm")
    assert place.master_port == placement({**env, "SLURM_JOB_ID": "12345", "SLURM_PROCID": "0"}).master_port


def test_a_slurm_batch_shell_is_no_rank() -> None:
    env = {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "batch"}
    assert placement(env).world == 1


@pytest.mark.parametrize("step", [0xFFFFFFFA, 0xFFFFFFFB, 0xFFFFFFFC, 0xFFFFFFFD])
def test_a_shell_that_slurm_runs_as_a_step_of_its_own_is_no_rank(step: int) -> None:
    """An interactive step (of salloc, by LaunchParameters=use_interactive_step) has the whole allocation's NTASKS."""
    env = {"SLURM_STEP_ID": str(step), "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}
    assert (placement(env).world, placement(env).launcher) == (1, "single")


def test_a_node_list_names_the_first_host() -> None:
    env = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_JOB_NODELIST": "gpu[07-09],x"}
    assert placement(env).master_addr == "gpu07"


@pytest.mark.parametrize(
    "env", [{"RANK": "0"}, {"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "x", "WORLD_SIZE": "2"}, {"WORLD_SIZE": "2"}]
)
def test_half_set_variables_are_refused(env: dict[str, str]) -> None:
    with pytest.raises(DeemoError):
        placement(env)
