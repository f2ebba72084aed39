"""Who is held out is held out: nobody whose clips judge a model stands among those that it learned from."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deemo_dist.dataset import Examples, MixedExamples
from deemo_dist.errors import DatasetError
from deemo_dist.records import Example


def refuse_shared(split: str, held: Sequence[Example], learned: Sequence[Example], stage: str) -> None:
    """Raise ``DatasetError`` where a subject of the ``held`` examples, which are of ``split``, is one of a stage's
    ``learned`` ones too. Subjects of two datasets cannot be compared: their keys differ."""
    theirs = subjects_of(held)
    shared = {key for part in _parts(learned) for key in _among(part, theirs)}
    if shared:
        raise DatasetError(
            f"{len(shared)} of the {len(theirs)} subjects of the {split} split are among those that stage {stage} "
            "learns from",
            hint="judge by people that the model never saw: splits are by subject, in each dataset of a mix",
        )


def subjects_of(examples: Sequence[Example]) -> pa.Array:
    """The subject keys of examples, each once."""
    parts = [part.dataset.index.column("subject_key").take(_rows(part)) for part in _parts(examples)]
    return pa.concat_arrays([pa.array([], pa.string()), *(part.cast(pa.string()) for part in parts)]).unique()


def _parts(examples: Sequence[Example]) -> Iterator[Examples]:
    """Examples by the dataset they are of."""
    for part in examples.parts.values() if isinstance(examples, MixedExamples) else (examples,):
        if isinstance(part, Examples):
            yield part


def _rows(part: Examples) -> pa.Array:
    """The numbers of its samples, each once."""
    return pa.array(np.unique(part.rows), pa.int64())


def _among(part: Examples, subjects: pa.Array) -> list[str]:
    """Which of ``subjects`` a part's samples are of."""
    keys = part.dataset.index.column("subject_key")
    same = np.flatnonzero(pc.is_in(keys, value_set=subjects.cast(keys.type)).to_numpy(zero_copy_only=False))
    found = same[np.isin(same, part.rows)]
    return list(keys.take(pa.array(found, pa.int64())).unique().to_pylist())
