"""What a stage is refused for before it is planned."""

from dataclasses import replace
from pathlib import Path

import pytest

from deemo_dist.config import MixConfig
from deemo_dist.dataset.lifecycle.combine import select
from deemo_dist.errors import DatasetError
from deemo_dist.storage import open_store
from pipelines.datasets import open_allowed
from pipelines.stages import plan_stages
from tests.ready import prepared_in, run_in


def test_a_mix_of_a_version_and_what_was_filtered_from_it_is_refused(tmp_path: Path) -> None:
    config = run_in(prepared_in(tmp_path))
    store = open_store(config.storage)
    select(store, ("demo", "v1"), ("long", "v1"), lambda row: True, "frames > 0")
    mix = {"demo/v1": MixConfig(), "long/v1": MixConfig()}
    stages = {name: replace(stage, mix=mix) for name, stage in config.stages.items()}
    with pytest.raises(DatasetError, match="demo/v1 and long/v1 of the mix hold 12 samples both"):
        plan_stages(replace(config, stages=stages), open_allowed(config, store), None, store)  # type: ignore[arg-type]
