"""Datasets of one mix that hold the same samples: a version that was merged, filtered or renamed beside its source."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pyarrow.compute as pc

from deemo_dist.dataset.lifecycle.versions import key_names
from deemo_dist.dataset.opened import Dataset
from deemo_dist.dataset.rows import ByKey
from deemo_dist.errors import DatasetError
from deemo_dist.records import Annotation

CHUNK = 2**16
"""Keys that are compared at once."""


def refuse_shared_samples(datasets: Mapping[str, Dataset]) -> None:
    """Raise ``DatasetError`` where two of the datasets of a mix (by ``name/version``) hold the same samples: they would
    be shown twice as often as the mix says.

    By the keys of their annotations, without which nothing is shown. Where keys were made under different names or root
    keys, none can be alike, and none are compared: what was rotated to another key is not recognised.
    """
    for (name, one), (other, two) in combinations(datasets.items(), 2):
        shared = shared_keys(one.annotations, two.annotations) if _may_share(one, two) else 0
        if shared:
            raise DatasetError(
                f"{name} and {other} of the mix hold {shared} samples both: they would come twice as often",
                hint="leave one out of the mix, or filter what is in the other out of it into a version of its own",
            )


def _may_share(one: Dataset, two: Dataset) -> bool:
    """Whether keys of both were made under one root key and name."""
    first, second = one.info, two.info
    names = set(key_names(first.name, first.header)).intersection(key_names(second.name, second.header))
    return first.header.key_id == second.header.key_id and bool(names)


def shared_keys(one: ByKey[Annotation], two: ByKey[Annotation]) -> int:
    """How many keys of the larger are in the smaller: one pass over both in the order of their keys, with no more than
    a part of each at hand."""
    many, few = (one, two) if len(one) >= len(two) else (two, one)
    shared = 0
    for start in range(0, len(many) if len(few) else 0, CHUNK):
        keys = many.in_order(start, start + CHUNK)
        first, last = few.upto([keys[0].as_py(), keys[-1].as_py()]).tolist()
        near = few.in_order(max(first - 1, 0), last)
        shared += int(np.count_nonzero(pc.is_in(keys, value_set=near).to_numpy(zero_copy_only=False)))
    return shared
