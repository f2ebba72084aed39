"""``deemo plan train``: of a dataset, of an assumed one, as table, data and picture."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from deemo_dist.dataset import Budget, LengthTable, PlanSettings, StepPlan
from deemo_dist.errors import ConfigError
from deemo_dist.planning.train.work import Pack
from pipelines.cli import app
from pipelines.plan_report import plain, plot, print_plan
from pipelines.plan_train import TrainPlan, asked_for, plan_train
from pipelines.workload import WINDOWS, _balance, assumed, of_plan, planned
from tests.ready import prepared_in, run_in


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_in(tmp_path_factory.mktemp("plan"))


@pytest.fixture(scope="module")
def plan(prepared: Path) -> TrainPlan:
    return plan_train(run_in(prepared), asked_for("1,2,16", "h100", "400g"))


def test_the_packs_are_those_of_the_dataset(prepared: Path, plan: TrainPlan) -> None:
    work = plan.stages[0].workload
    assert work.source == "dataset demo/v1" and 2 <= work.packs <= 4
    whole = planned(run_in(prepared))["instruct"]
    assert whole.mean.samples * whole.packs == pytest.approx(12)  # every example once
    assert whole.mean.clips == whole.mean.samples and whole.mean.cues == pytest.approx(0.75 * whole.mean.samples)
    assert whole.largest.tokens <= 300 and whole.slowest(1) == pytest.approx(1.0) and whole.slowest(2) >= 1.0


def test_the_rows_hold_together(plan: TrainPlan) -> None:
    stage = plan.stages[0]
    assert stage.parts["total"] == (1_083_280, 842_752)
    assert [row.ranks for row in stage.rows] == [1, 2, 16] and all(row.fits for row in stage.rows)
    assert "packs_per_step=16" in stage.rows[2].advice[0]
    assert plan.total(0) == (stage.rows[0].days, stage.rows[0].gpu_hours)
    checkpointed = stage.ways["ZeRO-3, checkpointed"]
    assert all(less <= more for less, more in zip(checkpointed, stage.ways["ZeRO-3"], strict=True))


def rare(windows: int) -> tuple[StepPlan, np.ndarray]:
    """A plan of so many windows in which two examples of a thousand have eight clips and many labels, one packed."""
    draw = np.random.default_rng(0)
    count = 1_000 * windows
    odd = draw.random(count) < 0.002
    tokens, frames = np.where(odd, 200, draw.integers(200, 600, count)), np.where(odd, 64, 8)
    lengths = LengthTable(
        digest="rare", tokens=tokens, targets=np.where(odd, 180, 20), frames=frames, audio_ms=np.full(count, 2000)
    )
    budget = Budget(tokens=4096, frames=512, audio_seconds=90.0)
    settings = PlanSettings(seed=1, epochs=1, packs_per_step=8, budget=budget, window=500)
    return StepPlan(lengths, np.arange(count) // 500, settings), frames


@pytest.mark.parametrize("windows", [8, 70])
def test_the_largest_pack_is_the_largest_of_all_packs_not_of_some_steps(
    windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, frames = rare(windows)
    counts = SimpleNamespace(clips=1, windows=1, cues=0)
    media = SimpleNamespace(frames=8, audio_window=2.0)
    processor = SimpleNamespace(media=media, counts=lambda example: counts)
    stage = SimpleNamespace(plan=plan, examples=range(len(frames)))
    found = of_plan(stage, processor, "rare").largest  # type: ignore[arg-type]
    packs = [list(items) for step in range(plan.steps) for items in plan.step(step)]
    sums = {name: [getattr(plan.lengths, name)[items].sum() for items in packs] for name in ("tokens", "targets")}
    clips = max(int(frames[items].sum()) // 8 for items in packs)
    if plan.windows <= WINDOWS:
        assert (found.tokens, found.labels, found.clips) == (max(sums["tokens"]), max(sums["targets"]), clips)
        assert (found.samples, found.cues) == (max(map(len, packs)), 0)
        assert found.windows == found.samples
        assert found.pairs == max((plan.lengths.tokens[items].astype(int) ** 2).sum() for items in packs)
    else:
        assert (found.tokens, found.clips, found.windows) == (4096, 512 // 8, 45)
        assert found.labels <= max(sums["targets"])


@pytest.mark.parametrize(("ranks", "slowest"), [(1, 1.0), (2, 1.0), (3, 1.25), (4, 1.25), (8, 2.0)])
def test_a_step_takes_its_dearest_packs_one_after_the_other(ranks: int, slowest: float) -> None:
    """Packs of 8, 6, 2, 2 and 2 tokens, 4 on average, dealt to so many ranks in turn; and packs that are alike."""
    step = [Pack.of([tokens], labels=0, clips=0, windows=0, cues=0) for tokens in (8, 6, 2, 2, 2)]
    assert _balance([step, step])(ranks) == pytest.approx(slowest)
    assert _balance([step[2:] * 3])(ranks) == pytest.approx(1.0)


def test_without_a_dataset_packs_are_assumed_and_this_is_said(tmp_path: Path) -> None:
    config = run_in(tmp_path)
    stage = config.stages["instruct"]
    work = assumed(config, stage, 1_000, "")
    assert work.source.startswith("assumed: 1,000 clips") and work.mean.tokens <= stage.max_tokens
    assert work.packs == -(-1_000 // int(work.mean.samples))
    told = plan_train(config, asked_for("1", "h100", "400g")).stages[0].workload.source
    assert "demo/v1 is not there" in told and told.startswith("assumed: 2,060 clips")
    with pytest.raises(ConfigError, match="fits no pack"):
        assumed(config, replace(stage, max_frames=1), 10, "")


def test_tables_without_a_terminal_are_plain(plan: TrainPlan, capsys: pytest.CaptureFixture) -> None:
    print_plan(plan)
    said = capsys.readouterr().out
    assert "\x1b" not in said and "─" not in said
    for word in ("language_model", "optimizer", "ZeRO-2", "MFU", "hiding tokens", "all stages on 16 GPUs"):
        assert word in said


def test_data(plan: TrainPlan) -> None:
    data = json.loads(json.dumps(plain(plan)))
    row = data["stages"][0]["rows"][1]
    assert row["gpus"] == 2 and row["bytes"]["optimizer"] == pytest.approx(842_752 * 12 / 2, rel=0.01)
    assert row["flops_per_step"] > 0 and data["gpu"]["source"] and data["total"][1]["gpus"] == 2


@pytest.mark.parametrize("ending", [".png", ".html"])
def test_picture(plan: TrainPlan, tmp_path: Path, ending: str) -> None:
    path = tmp_path / "deep" / f"plan{ending}"
    plot(plan, path)
    assert path.read_bytes()[:4] == (b"\x89PNG" if ending == ".png" else b"<!do")
    with pytest.raises(ConfigError, match="no picture"):
        plot(plan, tmp_path / "plan.txt")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--gpus", "eight"], "no numbers of GPUs"),
        (["--gpus", "0"], "no numbers of GPUs"),
        (["--gpu", "tpu"], "no figures for the GPU 'tpu'"),
        (["--net", "wifi"], "is no network"),
        (["--efficiency", "40"], "shares between 0 and 1"),
    ],
)
def test_wrong_words_are_refused(words: list[str], told: str) -> None:
    result = CliRunner().invoke(app, ["plan", "train", "-c", "demo", *words])
    assert isinstance(result.exception, ConfigError) and told in str(result.exception)


@pytest.mark.slow
def test_the_command_line(prepared: Path) -> None:
    words = [f"storage.root=file://{prepared}/store", f"storage.cache={prepared}/cache"]
    result = CliRunner().invoke(
        app, ["plan", "train", "-c", "demo", *words, "--gpus", "8", "--samples", "400", "--json"]
    )
    assert result.exit_code == 0, result.output
    assert [stage["name"] for stage in json.loads(result.stdout)["stages"]] == [
        "align-body",
        "align-audio",
        "instruct",
    ]
