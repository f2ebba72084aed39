"""The least that trains the nano size on two ZeRO-3 ranks: DeepSpeed, the model, packs of no real data, one step."""

import sys

from deemo_dist.model import build_model
from deemo_dist.training.engine import build_engine
from tests.bench.training.loops import PACKS, STAGE, TOKENS, batches, load_model
from tests.bench.training.ranks import ENGINE, words


def main() -> None:
    """One step, said."""
    for ranks, _ in words(said=["start"]):
        engine = build_engine(build_model(load_model(), 1), STAGE, ENGINE, ranks)
        for batch in next(batches(0, ranks.placement)).batches:
            engine.deepspeed.backward(engine.deepspeed(**batch, num_items_in_batch=TOKENS / 1.0).loss)
            engine.deepspeed.step()
        if ranks.rank == 0:
            sys.stdout.write(f"step 1/1 of {PACKS} packs\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
