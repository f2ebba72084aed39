"""Peers' readers, run in the peers' environment: `FOLDER PEER WORKERS`; a rate in samples/s for each line of input.

All give shuffled samples as raw bytes in lists of 16, over and over; the first of them are not timed.
"""

import importlib.util
import itertools
import json
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BATCH, WARM, COUNT = 16, 400, 1600


def same(value: Any) -> Any:
    """No collation: samples stay as they are."""
    return value


def webdataset_reader(folder: Path, workers: int) -> Iterator[Any]:
    """Plain tars, shards and samples shuffled, batches made in the workers."""
    import webdataset

    tars = sorted(str(path) for path in (folder / "store/datasets/bench/v1/shards").glob("*.tar"))
    found = webdataset.WebDataset(tars, shardshuffle=len(tars), seed=1, empty_check=False)
    found = found.repeat().shuffle(200).batched(BATCH, collation_fn=same)
    return iter(webdataset.WebLoader(found, batch_size=None, num_workers=workers))


def streaming_reader(folder: Path, workers: int) -> Iterator[Any]:
    """MDS shards, shuffled. Its vision part, which needs torchvision, is left out."""
    from torch.utils.data import DataLoader

    base = streaming_base()
    place = folder / "mds"
    if not (place / "index.json").exists():
        columns = {"key": "str", "mp4": "bytes", "flac": "bytes", "cues": "bytes", "json": "bytes"}
        with base.MDSWriter(out=str(place), columns=columns) as writer:
            for sample in tar_samples(folder):
                writer.write(sample)
    dataset = base.StreamingDataset(local=str(place), shuffle=True, batch_size=BATCH, num_canonical_nodes=1)
    loader = DataLoader(dataset, batch_size=BATCH, num_workers=workers, collate_fn=same)
    return itertools.chain.from_iterable(itertools.repeat(loader))


def streaming_base() -> Any:
    """``streaming.base`` without the package's own ``__init__``, which imports all of its parts."""
    spec = importlib.util.find_spec("streaming")
    assert spec is not None and spec.submodule_search_locations
    package = types.ModuleType("streaming")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["streaming"] = package
    return importlib.import_module("streaming.base")


def tar_samples(folder: Path) -> Iterator[dict[str, Any]]:
    """The samples of our shards."""
    import webdataset

    tars = sorted(str(path) for path in (folder / "store/datasets/bench/v1/shards").glob("*.tar"))
    for row in webdataset.WebDataset(tars, shardshuffle=False):
        names = {"mp4": "mp4", "flac": "flac", "cues": "cues.npy", "json": "json"}
        yield {"key": row["__key__"], **{name: row[extension] for name, extension in names.items()}}


def energon_reader(folder: Path, workers: int) -> Iterator[Any]:
    """The same tars, prepared by its own command."""
    import megatron.energon as energon
    from megatron.energon.task_encoder import Cooker, stateless

    place = folder / "energon"
    if not (place / ".nv-meta").exists():
        place.mkdir(exist_ok=True)
        for path in (folder / "store/datasets/bench/v1/shards").glob("*.tar"):
            (place / path.name).hardlink_to(path)
        prepare(place)

    class Encoder(energon.DefaultTaskEncoder):  # type: ignore[misc]
        cookers = (Cooker(stateless(same_sample)),)

        @stateless
        def batch(self, samples: list[Any]) -> list[Any]:
            return samples

        @stateless
        def encode_batch(self, batch: list[Any]) -> list[Any]:
            return batch

    dataset = energon.get_train_dataset(
        str(place),
        worker_config=energon.WorkerConfig(rank=0, world_size=1, num_workers=workers),
        batch_size=BATCH,
        shuffle_buffer_size=200,
        max_samples_per_sequence=100,
        task_encoder=Encoder(),
        auto_decode=False,
    )
    return iter(energon.get_loader(dataset))


def same_sample(sample: Any) -> Any:
    """The crude sample as a plain mapping."""
    return dict(sample)


def prepare(place: Path) -> None:
    """energon's index of the tars."""
    command = [str(Path(sys.executable)), "-m", "megatron.energon.cli.main", "prepare", str(place)]
    options = ["--non-interactive", "--split-ratio", "1,0,0", "--sample-type", "CrudeWebdataset", "--num-workers", "1"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout[-1000:] + done.stderr[-2000:])


READERS = {"webdataset": webdataset_reader, "streaming": streaming_reader, "energon": energon_reader}


def timed(batches: Iterator[Any], warm: int, count: int) -> float:
    """Samples a second over ``count`` of them, after ``warm`` that are not timed."""
    seen = itertools.accumulate(len(batch) for batch in batches)
    first = next(number for number in seen if number >= warm)
    started = time.perf_counter()
    last = next(number for number in seen if number >= first + count)
    return (last - first) / (time.perf_counter() - started)


def main(folder: Path, peer: str, workers: int) -> None:
    """Answer every line of input with a rate."""
    batches = READERS[peer](folder, workers)
    for _ in sys.stdin:
        sys.stdout.write(json.dumps(timed(batches, WARM, COUNT)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
