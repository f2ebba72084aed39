"""One ZeRO rank of the nano model, started as a process by the tests: one step, then the bytes of its live tensors, and
of the buffers that a checkpoint of it is written from and read into."""

import gc
import json
import os
import sys
from contextlib import closing
from pathlib import Path

os.environ.setdefault("DS_ACCELERATOR", "cpu")

import torch

from deemo_dist.config import EngineConfig, RunConfig, StageConfig, StorageConfig, TrainRule, load
from deemo_dist.model import DeemoLlamaForConditionalGeneration, build_model, build_processor
from deemo_dist.storage import open_store
from deemo_dist.training import Ranks, join, leave
from deemo_dist.training.checkpoint.restore import restore
from deemo_dist.training.checkpoint.saver import Saver, Target
from deemo_dist.training.checkpoint.snapshot import Snapshot
from deemo_dist.training.engine import Engine, build_engine

PLAN = json.loads(Path(sys.argv[1]).read_text())


def stage_of(plan: dict) -> StageConfig:
    rules = {pattern: TrainRule(lr=1e-3) for pattern in plan["trains"]}
    return StageConfig(tasks=("emotion",), trains=rules, packs_per_step=2)


def storage_bytes(tensors) -> int:
    """Bytes of the storages behind these tensors, each once."""
    seen = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(seen.values())


def held(engine: Engine) -> dict[str, int]:
    """Bytes by kind, where DeepSpeed keeps them."""
    optimizer = engine.deepspeed.optimizer
    moments = [
        value
        for state in optimizer.state.values()
        for value in state.values()
        if torch.is_tensor(value) and value.numel() > 1
    ]
    working = [p.ds_tensor for p in engine.module.parameters()]
    masters = list(optimizer.fp32_partitioned_groups_flat)
    gradients = [optimizer.grad_partitions_flat_buffer]
    shared = {tensor.untyped_storage().data_ptr() for tensor in working}
    masters = [tensor for tensor in masters if tensor.untyped_storage().data_ptr() not in shared]
    return {
        "parameters": storage_bytes(working),
        "gradients": storage_bytes(gradients),
        "optimizer": storage_bytes([*masters, *moments]),
    }


def checkpointed(engine: Engine, ranks: Ranks) -> dict[str, int]:
    """Bytes of the buffers made for a checkpoint: to save it from, and to read it into."""
    made: list[int] = []

    def make(size: int) -> bytearray:
        made.append(size)
        return bytearray(size)

    store = open_store(StorageConfig(root=f"file://{Path(sys.argv[1]).parent}/store"))
    where = {"store": store, "run_prefix": "runs/r", "prefix": "runs/r/s", "stage_key": "k" * 64, "attempt": 1}
    target = Target(**where, rank=ranks.rank, world=ranks.world, keep=1, extra={})
    snapshot = Snapshot(engine.fragments(), make=make)
    saved = sum(made)
    with closing(Saver(target, snapshot)) as saver:
        saver.begin(ranks, 1, {"updates": 1}, final=True)
        assert saver.settle(ranks)
    made.clear()
    assert restore(engine.fragments(), store, "runs/r/s", "k" * 64, ranks, make=make)
    return {"snapshot": saved, "restored": sum(made)}


def main() -> None:
    config: RunConfig = load("demo", [])
    engine_config = EngineConfig(ranks=2, precision=PLAN["precision"], timeout_seconds=60)
    ranks = join(engine_config)
    model: DeemoLlamaForConditionalGeneration = build_model(config.model, 0)
    engine = build_engine(model, stage_of(PLAN), engine_config, ranks)
    batch = build_processor(config.model).null_pack()
    batch["labels"] = batch["input_ids"].clone()
    batch = {**batch, "input_ids": batch["input_ids"].repeat(1, 2), "labels": batch["labels"].repeat(1, 2)}
    batch |= {
        "label_rows": torch.tensor([0]),
        "position_ids": torch.arange(2)[None],
        "cu_seqlens": torch.tensor([0, 2], dtype=torch.int32),
        "max_seqlen": 2,
    }
    for _ in range(engine.micro):
        loss = engine.loss(batch, targets=2)
        engine.deepspeed.backward(loss)
        if _ + 1 < engine.micro:
            engine.deepspeed.step()
    found = held(engine)
    engine.step(1.0)
    gc.collect()
    after = held(engine)
    found["optimizer"] = after["optimizer"]
    found["all"] = storage_bytes(
        [o for o in gc.get_objects() if isinstance(o, torch.Tensor) and o.device.type == "cpu"]
    )
    found |= checkpointed(engine, ranks)
    Path(f"{sys.argv[1]}.{ranks.rank}").write_text(json.dumps(found))
    engine.destroy()
    leave()


main()
