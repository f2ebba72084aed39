"""One rank of a tiny training, started as a process by the tests: reads a JSON plan, writes losses as it goes."""

import atexit
import gc
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

PLAN = json.loads(Path(sys.argv[1]).read_text())
os.environ.setdefault("DS_ACCELERATOR", "cpu")

import torch  # noqa: E402
from torch import nn  # noqa: E402

from deemo_dist.config import EngineConfig, StageConfig, StorageConfig, TrainRule  # noqa: E402
from deemo_dist.environ import Placement, placement  # noqa: E402
from deemo_dist.errors import DeemoError  # noqa: E402
from deemo_dist.storage import open_store  # noqa: E402
from deemo_dist.storage.local import LocalStore  # noqa: E402
from deemo_dist.training import (  # noqa: E402
    Commit,
    StageSpec,
    StepBatches,
    factor,
    finished,
    join,
    leave,
    take_attempt,
    train_stage,
    watching,
)
from deemo_dist.training.checkpoint.snapshot import Snapshot  # noqa: E402

VOCABULARY, WIDTH, HIDDEN = 61, 48, PLAN.get("hidden", 300)
PACKS = PLAN.get("packs", 4)
REAL = None
if "real" in PLAN:
    from tests.unit.training.real import Real

    REAL = Real(PLAN["real"])


class Output(dict):
    """DeepSpeed's hooks look for tensors inside mappings, transformers' outputs are read by attribute."""

    @property
    def loss(self):
        return self["loss"]


class Tiny(nn.Module):
    """A frozen tower, a projector and a head, with dropout; the contract of the real model."""

    def __init__(self) -> None:
        super().__init__()
        self.vision_tower = nn.Embedding(VOCABULARY, WIDTH)
        blocks = [(nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, WIDTH)) for _ in range(PLAN.get("blocks", 1))]
        self.video_projector = nn.Sequential(*(layer for block in blocks for layer in block))
        if PLAN.get("unused"):
            self.video_projector_unused = nn.Linear(WIDTH, HIDDEN)
        self.language_model = nn.Linear(WIDTH, VOCABULARY)
        self.dropout = nn.Dropout(PLAN.get("dropout", 0.0))

    def forward(self, input_ids, labels, num_items_in_batch, poison=False, boost=1.0):
        hidden = self.vision_tower(input_ids)
        logits = self.language_model(self.dropout(hidden + self.video_projector(hidden)))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")
        if poison:
            loss = loss.detach() * float("inf") + 0.0 * loss
        return Output(loss=boost * loss / num_items_in_batch)


def pack(step: int, number: int) -> dict[str, torch.Tensor]:
    """Pack ``number`` of ``step``: a function of both alone; lengths differ."""
    if REAL:
        return REAL.pack(step, number)
    generator = torch.Generator().manual_seed(1000 * step + number)
    length = 5 + int(torch.randint(0, 20, (1,), generator=generator))
    ids = torch.randint(0, VOCABULARY, (1, length), generator=generator)
    labels = (ids * 7 + 3) % VOCABULARY
    labels[:, : length // 3] = -100
    return {"input_ids": ids, "labels": labels}


def null_pack() -> dict[str, torch.Tensor]:
    if REAL:
        return REAL.null_pack()
    return {"input_ids": torch.zeros(1, 1, dtype=torch.long), "labels": torch.full((1, 1), -100)}


def targets(packs: list[dict[str, torch.Tensor]]) -> int:
    return sum(int((item["labels"] != -100).sum()) for item in packs)


def one_step(step: int, place: Placement) -> StepBatches:
    count = PACKS if step + 1 < PLAN["steps"] else PLAN.get("last_packs", PACKS)
    packs = [pack(step, number) for number in range(count)]
    micro = -(-PACKS // place.world)
    own = [m * place.world + place.rank for m in range(micro)]
    batches = [packs[number] if number < count else null_pack() for number in own]
    if step in PLAN.get("poison_steps", []) and place.rank == place.world - 1:
        batches[0]["poison"] = True
    if step in PLAN.get("boost_steps", []):
        batches = [{**batch, "boost": 50.0} for batch in batches]
    places = tuple(number if number < count else -1 for number in own)
    return StepBatches(
        batches=batches,
        targets=targets(packs),
        packs=places,
        samples=len(own),
        flops=1e6 * len(own),
        keys=tuple(f"{step}-{number}" for number in own if number < count),
    )


def held_out(place: Placement) -> Iterator[StepBatches]:
    """Two steps for validation, slow to come where the plan says so."""
    for number in range(2):
        time.sleep(PLAN.get("validation_sleep", 0.0))
        yield one_step(10_000 + number, place)


def batches(start: int, place: Placement) -> Iterator[StepBatches]:
    for step in range(start, PLAN["steps"]):
        time.sleep(PLAN.get("sleep", 0.0))
        if step == PLAN.get("hang_step") and place.rank == PLAN.get("hang_rank", 1):
            hang(PLAN.get("hang_how", "sleep"))
        yield one_step(step, place)


def hang(how: str) -> None:
    if how == "stop":
        Path(PLAN["out"], "frozen").write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def memory(kind: str) -> int:
    """What /proc tells of this process's memory, in bytes: ``VmHWM`` is the most that it had (``getrusage`` would tell
    of the process that started it), ``RssAnon`` what it has now that is no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(kind))


class Watch(threading.Thread):
    """The most memory that is no file's. A mapped file's pages are the kernel's to take back, and how many of them are
    there at once depends on how a save and a step happen to meet."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0

    def run(self) -> None:
        while True:
            self.most = max(self.most, memory("RssAnon"))
            time.sleep(0.005)


class Listener:
    """Writes every step's loss, to the bit, and kills the process where the plan says so."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.watch = Watch()
        if PLAN.get("watch"):
            self.watch.start()

    def on_start(self, spec, *, start_step, attempt, trainable):
        self.say({"start": start_step, "attempt": attempt, "trainable": trainable, "built": memory("VmHWM")})

    def on_step(self, report):
        self.say({"step": report.step, "loss": report.loss, "hex": report.loss.hex(), "lr": dict(report.lr),
                  "norm": report.grad_norm, "skipped": report.skipped, "validation": report.validation_loss,
                  "validation_seconds": report.validation_seconds,
                  "seconds": report.step_seconds, "tokens": report.tokens_per_second,
                  "mfu": report.mfu, "padding": report.padding, "parts": dict(report.part_norms)})  # fmt: skip
        if report.step == PLAN.get("kill_step"):
            os.kill(os.getpid(), signal.SIGKILL)
        if report.step == PLAN.get("lose_disk_step"):
            shutil.rmtree(PLAN["nvme_path"], ignore_errors=True)
        if report.step == PLAN.get("usurp_step"):
            take_attempt(open_store(StorageConfig(root=PLAN["store"])), "runs/r")
        if report.step == PLAN.get("term_step"):
            os.kill(os.getpid(), signal.SIGTERM)

    def on_checkpoint(self, commit):
        self.say({"commit": commit.step, "key": commit.key})

    def on_end(self, result):
        self.say({"end": result.steps, "stall": result.save_stall_seconds, "seconds": result.seconds,
                  "held": self.watch.most})  # fmt: skip

    def say(self, row):
        with self.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()


def model() -> nn.Module:
    if REAL:
        return REAL.model()
    torch.manual_seed(11)
    if PLAN.get("hang_build") == os.environ.get("RANK"):
        hang("sleep")
    return Tiny()


def spec(name: str, place: Placement) -> StageSpec:
    out = Path(PLAN["out"]) / f"{name}-{place.rank}.jsonl"
    rules = PLAN.get(
        "trains", {"*video_projector*": {"lr": 1e-2, "weight_decay": 0.1}, "*language_model*": {"lr": 1e-3}}
    )
    return StageSpec(
        name=name,
        stage=StageConfig(
            tasks=("t",),
            trains={pattern: TrainRule(**rule) for pattern, rule in rules.items()},
            packs_per_step=PACKS,
            validate_every=PLAN.get("validate_every", 0),
            early_stop=PLAN.get("early_stop", 0),
            max_grad_norm=PLAN.get("max_grad_norm", 1.0),
        ),
        engine=EngineConfig(
            zero_stage=PLAN.get("zero_stage", 3),
            timeout_seconds=PLAN.get("timeout", 60),
            watchdog_seconds=PLAN.get("watchdog", 60),
            checkpoint_every=PLAN.get("every", 3),
            keep_checkpoints=PLAN.get("keep", 2),
            deepspeed=PLAN.get("deepspeed", {"zero_optimization": {"stage3_param_persistence_threshold": 1000}}),
            offload=PLAN.get("offload", "none"),
            nvme_path=PLAN.get("nvme_path", ""),
            partition_at_build=PLAN.get("partition_at_build", False),
            gradient_checkpointing=PLAN.get("gradient_checkpointing", False),
            precision=PLAN.get("precision", "fp32"),
            hpz=PLAN.get("hpz", 1),
            profile=tuple(PLAN.get("profile", ())),
            profile_folder=str(Path(PLAN["out"]) / "profiles"),
        ),
        seed=5,
        model=model,
        batches=batches,
        total_steps=PLAN["steps"],
        store=open_store(StorageConfig(root=PLAN["store"])),
        run_prefix="runs/r",
        prefix=f"runs/r/{name}",
        stage_key=PLAN.get("stage_key", "a" * 64),
        validation=held_out,
        callbacks=(Listener(out),),
    )


class SlowStore(LocalStore):
    """A store that takes its time over every file, or never comes back from one, on one rank."""

    def put(self, key, data):
        time.sleep(PLAN.get("slow_put", 0.0))
        super().put(key, data)

    def get(self, key):
        time.sleep(PLAN.get("slow_get", 0.0) if key.endswith(".safetensors") else 0.0)
        return super().get(key)


def slowly(made: StageSpec, place: Placement) -> StageSpec:
    """The stage on a slow store, in small files so that there are several; only the last rank's store is slow."""
    Snapshot.__init__.__kwdefaults__["part_bytes"] = 30_000
    return replace(made, store=SlowStore(PLAN["store"])) if place.rank + 1 == place.world else made


def heard_by_all(made: StageSpec, place: Placement) -> StageSpec:
    """The stage with the listeners of `deemo train` on rank 0: log, MLflow and the curve beside the checkpoints."""
    from deemo_dist.config import TrackingConfig
    from deemo_dist.tracking import Tracker
    from deemo_dist.training import ProgressLines
    from pipelines.curves import KeepCurve
    from pipelines.tracked import TrackStage

    if place.rank:
        return made
    folder = Path(PLAN["out"]) / "tracking"
    tracker = Tracker.open(TrackingConfig(), spool_dir=folder / "spool", folder=folder, run_name="r")
    atexit.register(tracker.close)
    planned = SimpleNamespace(config=made.stage, plan=SimpleNamespace(digest="p"), datasets=())
    curve = KeepCurve(made.store, made.prefix)
    told = (ProgressLines(seconds=0.0), TrackStage(tracker.stage(made.name), planned), curve)
    return replace(made, callbacks=(*made.callbacks, *told), before_commit=curve.before_commit)


def plain(place: Placement) -> None:
    """The same training as a bare torch loop over whole steps: no ranks, no engine, no accumulation."""
    whole = spec("plain", place)
    net, said = model(), Listener(Path(PLAN["out"]) / "plain-0.jsonl")
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(not name.startswith("vision_tower"))
    rules, named = whole.stage.trains, dict(net.named_parameters())
    head = [value for name, value in named.items() if name.startswith("language_model")]
    body = [value for name, value in named.items() if name.startswith("video_projector") and value.ndim == 2]
    rest = [value for name, value in named.items() if name.startswith("video_projector") and value.ndim == 1]
    projector, language = rules["*video_projector*"], rules["*language_model*"]
    optimizer = torch.optim.AdamW(
        [
            {"params": body, "lr": projector.lr, "weight_decay": projector.weight_decay},
            {"params": rest, "lr": projector.lr, "weight_decay": 0.0},
            {"params": head, "lr": language.lr, "weight_decay": 0.0},
        ]
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(PLAN["steps"]):
        packs = [pack(step, number) for number in range(PACKS)]
        loss = sum(net(**item, num_items_in_batch=targets(packs)).loss for item in packs)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*body, *rest, *head], whole.stage.max_grad_norm)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor(step, PLAN["steps"], kind="cosine", warmup=whole.stage.warmup)
        optimizer.step()
        said.say({"step": step, "loss": float(loss), "hex": float(loss).hex()})


def main() -> int:
    from deemo_dist.console import setup_logging

    setup_logging()
    place = placement()
    if PLAN.get("plain"):
        plain(place)
        return 0
    try:
        train(place)
    except DeemoError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    leave()
    return 0


def train(place: Placement) -> None:
    """Every stage, under one watch with files for the stacks, as `deemo train` has it."""
    engine = spec("s", place).engine
    ranks, folder = join(engine), Path(PLAN["out"]) / "stacks"
    with watching(ranks.placement, ranks.progress, seconds=engine.watchdog_seconds, folder=folder):
        for name in PLAN.get("stages", ["s"]):
            made = spec(name, place)
            made = heard_by_all(made, place) if PLAN.get("tracked") else made
            made = slowly(made, place) if {"slow_put", "slow_get"} & set(PLAN) else made
            train_stage(replace(made, parents=parents(made.store)))
            if PLAN.get("left"):
                Listener(Path(PLAN["out"]) / f"{name}-{place.rank}.jsonl").say({"left": left_behind()})


def parents(store: LocalStore) -> tuple[Commit, ...]:
    """Final commits of the stages that the plan says it builds on."""
    return tuple(finished(store, f"runs/r/{name}", "a" * 64)[1] for name in PLAN.get("parents", []))


def left_behind() -> list[str]:
    """What there still is of engines, optimizers and their states, and of the model."""
    from deepspeed.runtime.engine import DeepSpeedEngine
    from deepspeed.runtime.zero.stage3 import DeepSpeedZeroOptimizer_Stage3
    from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer

    kinds = (DeepSpeedEngine, DeepSpeedZeroOptimizer, DeepSpeedZeroOptimizer_Stage3, torch.optim.Optimizer, Tiny)
    gc.collect()
    return [type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds)]


if __name__ == "__main__":
    sys.exit(main())
