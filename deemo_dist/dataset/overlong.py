"""Examples that no pack can hold: left out where a stage says so, and counted."""

from dataclasses import replace

import numpy as np

from deemo_dist.console import logger
from deemo_dist.dataset.instructions import Examples
from deemo_dist.dataset.lengths import LengthTable
from deemo_dist.dataset.packing import Budget
from deemo_dist.dataset.windows import CHUNK
from deemo_dist.digests import digest_of
from deemo_dist.errors import DatasetError


def leave_out(examples: Examples, lengths: LengthTable, budget: Budget) -> tuple[Examples, LengthTable]:
    """The examples that a pack can hold and their lengths: both as they are where that is all of them.

    How many are left out is logged. Raises ``DatasetError`` when none is left.
    """
    fits = np.ones(len(lengths), bool)
    for start in range(0, len(lengths), CHUNK):
        costs = lengths.costs(np.arange(start, min(start + CHUNK, len(lengths))))
        fits[start : start + CHUNK] = (costs <= budget.as_integers()).all(axis=1)
    if fits.all():
        return examples, lengths
    out = int((~fits).sum())
    if out == len(fits):
        raise DatasetError(f"none of {out} examples fits in a pack", hint="raise the stage's max_tokens and the like")
    logger.warning("%d of %d examples are too long for a pack: left out, as the stage says", out, len(fits))
    columns = {name: getattr(lengths, name)[fits] for name in ("tokens", "targets", "frames", "audio_ms")}
    digest = digest_of({"of": lengths.digest, "within": budget})
    kept = LengthTable(digest=digest, of=lengths.measured, **columns)
    return replace(examples, rows=examples.rows[fits], asked=examples.asked[fits]), kept
