"""Steps a second of our training of a stage, and of a bare DeepSpeed loop over the same model and batches.

Run as a process that is asked ``ours`` or ``bare``; two ZeRO-3 ranks, one thread each. What our loop does beside a
bare one is in its figure: seeds, the exchange of the ranks, the watchdog, norms by part, callbacks, the guard.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache

import torch

from deemo_dist.config import ModelConfig, StageConfig, StorageConfig, TrainRule, load
from deemo_dist.environ import Placement
from deemo_dist.model import build_model, build_processor
from deemo_dist.storage import open_store
from deemo_dist.training import Ranks, StageSpec, StepBatches, train_stage
from deemo_dist.training.engine import build_engine
from tests.bench.training.clock import Clock
from tests.bench.training.ranks import ENGINE, words

STEPS, WARM, PACKS, TOKENS = 14, 4, 4, 1100
STAGE = StageConfig(tasks=("bench",), trains={"*": TrainRule(lr=1e-4)}, packs_per_step=PACKS, max_tokens=TOKENS)


@cache
def pack(number: int) -> dict[str, torch.Tensor]:
    """A pack of several examples' tokens, and of media of one clip."""
    processor = build_processor(load_model())
    draw = torch.Generator().manual_seed(number)
    lengths = torch.tensor([TOKENS // 5] * 5)
    ids = torch.randint(8, len(processor.tokenizer), (1, int(lengths.sum())), generator=draw)
    return {
        **processor.null_pack(),
        "input_ids": ids,
        "labels": ids,
        "position_ids": torch.cat([torch.arange(int(length)) for length in lengths]).unsqueeze(0),
        "cu_seqlens": torch.cat([torch.zeros(1), lengths.cumsum(0)]).to(torch.int32),
        "max_seqlen": int(lengths.max()),
    }


def load_model() -> ModelConfig:
    """The demo's, of the nano size."""
    return load("demo").model


def batches(start: int, place: Placement) -> Iterator[StepBatches]:
    """The same packs at each step."""
    own = range(place.rank, PACKS, place.world)
    step = StepBatches(batches=[pack(number) for number in own], targets=PACKS * TOKENS, packs=tuple(own))
    yield from [step] * (STEPS - start)


def ours(ranks: Ranks, model: torch.nn.Module) -> float:
    """One stage from its start to its last commit; its steps are timed."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(StorageConfig(root=f"file://{ranks.from_first(folder)}"))
        train_stage(
            StageSpec(
                name="bench",
                stage=STAGE,
                engine=ENGINE,
                seed=1,
                model=model,
                batches=batches,
                total_steps=STEPS,
                store=store,
                run_prefix="runs/bench",
                prefix="runs/bench/stage",
                stage_key="0" * 64,
                callbacks=(clock,),
                attempt=1,
            )
        )
    return clock.rate(WARM)


def bare(ranks: Ranks, model: torch.nn.Module) -> float:
    """DeepSpeed's engine, set up alike: forward, backward, step."""
    engine, clock = build_engine(model, STAGE, ENGINE, ranks), Clock()
    engine.module.train()
    for step in batches(0, ranks.placement):
        for batch in step.batches:
            loss = engine.deepspeed(**batch, num_items_in_batch=float(PACKS * TOKENS) / PACKS).loss
            engine.deepspeed.backward(loss)
            engine.deepspeed.step()
        clock.times.append(time.perf_counter())
    engine.destroy()
    return clock.rate(WARM)


if __name__ == "__main__":
    for ranks, word in words():
        made = build_model(load_model(), 1)
        rate = {"ours": ours, "bare": bare}[word](ranks, made)
        if ranks.rank == 0:
            sys.stdout.write(json.dumps(rate) + "\n")
            sys.stdout.flush()
