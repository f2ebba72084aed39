"""Part of a chain by the command line: up to a stage, and on from one whose rate has changed since."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ready import prepared_in
from tests.system.conftest import Project

pytestmark = pytest.mark.system

RUN = """
bases: [models/nano, policies/standard, tasks/emotion]
name: chosen
keys: {source: demo}
data: {name: demo, version: v1}
tracking: {enabled: false}
engine: {ranks: 1, threads: 1, preflight: false}
"""
STAGE = "tasks: [emotion], epochs: 1, packs_per_step: 2, max_tokens: 300"
NAMES = ("align-video", "align-audio", "instruct")


def with_rates(project: Project, *rates: float) -> Project:
    """The same project under a run file of three short stages with these learning rates."""
    stages = (
        f'  {name}: {{{STAGE}, trains: {{"*projector*": {{lr: {rate}}}}}}}\n'
        for name, rate in zip(NAMES, rates, strict=True)
    )
    run = project.folder / "chosen.yaml"
    run.write_text(f"{RUN}stages:\n{''.join(stages)}")
    return replace(project, run=run)


def commits(project: Project) -> dict[str, list[str]]:
    """The places of each stage that has a commit, by its name."""
    keys = {key.split("/")[2] for key in project.store.list("runs/chosen/") if "/commits/" in key}
    return {name: sorted(key for key in keys if re.fullmatch(rf"{name}-\w{{12}}", key)) for name in NAMES}


def test_the_stages_before_a_change_stand_and_those_from_it_on_are_trained_again(tmp_path: Path) -> None:
    prepared_in(tmp_path)
    chosen = with_rates(Project(tmp_path, f"file://{tmp_path / 'store'}"), 0.001, 0.001, 0.001)
    refused = chosen.deemo("train", "--from", "align-audio", code=1)
    told = "stage align-audio builds on align-video, which is not done under this configuration"
    assert len([line for line in refused.splitlines() if told in line]) == 1 and "Traceback" not in refused

    chosen.deemo("train", "--until", "align-audio")
    first = commits(chosen)
    assert [len(first[name]) for name in NAMES] == [1, 1, 0] and not chosen.store.list("models/")

    said = with_rates(chosen, 0.001, 0.002, 0.001).deemo("train", "--from", "align-video")
    then = commits(chosen)
    assert re.findall(r"(\S+): done before \(\d+ steps\), skipped", said) == ["align-video"]
    assert [len(then[name]) for name in NAMES] == [1, 2, 1] and then["align-video"] == first["align-video"]
    assert chosen.store.list("models/")
