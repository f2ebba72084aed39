"""``deemo plan data`` over a small real dataset: what is simulated, what is grown, what refuses."""

import time
from dataclasses import replace

import pytest

from deemo_dist.config import RunConfig
from deemo_dist.errors import ConfigError
from deemo_dist.planning.data.forecast import Cluster
from pipelines.data_report import plain, verdict
from pipelines.plan_data import StageForecast, plan_data
from tests.ready import CLIPS, prepared_in, run_in

CLUSTER = Cluster(ranks=2, nodes=1, workers=0, cpus=2, step_seconds=0.5, network=10.0**9, memory=2.0**33)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    run = run_in(prepared_in(tmp_path_factory.mktemp("plan-data")))
    stages = {name: replace(stage, window=64) for name, stage in run.stages.items()}
    return replace(run, stages=stages, data=replace(run.data, shard_bytes=20_000))


def stage_of(config: RunConfig, cluster: Cluster, samples: int | None = None) -> StageForecast:
    (stage,) = plan_data(config, cluster, samples=samples)
    return stage


@pytest.mark.slow
def test_the_scale_is_the_datasets_or_what_is_asked_for(config: RunConfig) -> None:
    own, grown = stage_of(config, CLUSTER), stage_of(config, CLUSTER, samples=1000 * CLIPS)
    assert (own.scale.samples, own.scale.distinct, own.scale.examples, own.scale.windows) == (12, 12, 12, 1)
    assert (grown.scale.samples, grown.scale.examples, grown.scale.windows) == (12_000, 12_000, 187)
    assert own.simulated == grown.simulated and own.simulated.samples > 64
    assert own.forecast.requests_per_step == grown.forecast.requests_per_step > 0
    assert grown.forecast.process_memory == pytest.approx(1000 * own.forecast.process_memory)


@pytest.mark.slow
def test_a_billion_samples_on_a_thousand_ranks_are_forecast_in_a_minute(config: RunConfig) -> None:
    stages = {name: replace(stage, window=20_000) for name, stage in config.stages.items()}
    run = replace(config, stages=stages, data=replace(config.data, shard_bytes=2**28))
    cluster = replace(CLUSTER, ranks=1024, nodes=128, workers=4, cpus=64, step_seconds=2.0, memory=2.0**40)
    began = time.process_time()
    stage = stage_of(run, cluster, samples=10**9)
    assert time.process_time() - began < 60
    assert (stage.scale.samples, stage.scale.examples, stage.scale.windows) == (10**9, 10**9, 50_000)
    found, a_step = stage.forecast, stage.scale.examples / stage.scale.steps
    assert stage.simulated.samples >= 40_000 and 1024 < a_step < 1024 * 6
    assert found.requests_per_step == pytest.approx(found.requests_per_sample * a_step, rel=0.05)
    assert found.node_memory == 8 * found.process_memory > cluster.memory
    assert [limit.name for limit in found.limits if limit.load > 1] == [
        "packs of a step",
        "a node's memory, for index and plan alone",
    ]


def test_a_store_of_files_has_no_cache_to_judge(config: RunConfig) -> None:
    stage = stage_of(config, CLUSTER)
    assert stage.scale.cache_bytes == stage.forecast.cache_needed == 0
    assert {limit.name for limit in stage.forecast.limits} == {
        "requests, of the bucket's prefix",
        "requests, of the processes' shares",
        "CPU to decode and pack",
        "a node's network",
        "a node's memory, for index and plan alone",
    }


def test_more_ranks_than_packs_of_a_step_come_first(config: RunConfig) -> None:
    stage = stage_of(config, replace(CLUSTER, ranks=8, nodes=2))
    assert stage.forecast.limits[0].name == "packs of a step"
    assert "stages.instruct.packs_per_step=8" in stage.forecast.limits[0].change
    assert any("training is refused" in line for line in verdict(stage))
    assert plain([stage])["instruct"]["forecast"]["limits"][0]["load"] == 4.0


def test_more_nodes_than_ranks_are_refused(config: RunConfig) -> None:
    with pytest.raises(ConfigError, match="4 nodes for 2 ranks"):
        plan_data(config, replace(CLUSTER, nodes=4))
