"""What is measured on a dataset for training and kept beside it: whether its lengths and plans can be relied on."""

from collections.abc import Iterator

from deemo_dist.dataset.codec import parse_json
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.info import DatasetInfo
from deemo_dist.dataset.lengths import lengths_of_what, read_lengths
from deemo_dist.dataset.plan import table_of_packs
from deemo_dist.errors import DeemoError


def table_problems(store: Door, info: DatasetInfo) -> Iterator[str]:
    """Problems of the tables of lengths that were measured on a dataset, and of packs that were counted over them: all
    are read. One that does not say what it was measured on (older ones) is passed over; one that cannot be read may be
    this dataset's, and is told."""
    measured: set[str] = set()
    for key in store.list("lengths"):
        try:
            if lengths_of_what(store.get(key)) == info.dataset_digest:
                measured.add(key.rpartition("/")[2].removesuffix(".parquet"))
                read_lengths(store, key, None, digest="")
        except DeemoError as error:
            yield _told(key, error)
    for key in store.list("plans") if measured else ():
        try:
            table = parse_json(store.get(key), key)
            if measured.intersection(table.get("measured") or [table.get("lengths")]):
                table_of_packs(table, key)
        except DeemoError as error:
            yield _told(key, error)


def _told(key: str, error: DeemoError) -> str:
    """The error's words, with the key where they do not have it."""
    return str(error) if key in error.message else f"{key}: {error}"
