"""Stored weights into a part of the model, tensor by tensor: out of safetensors files where their names are those of
the part, else by way of transformers, which knows older names.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deemo_dist.errors import ModelError
from deemo_dist.model.placing import current

Shape = tuple[int, ...]
Reader = Callable[[str], Tensor]
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


def load_stored(
    part: nn.Module, folder: Callable[[], Path], otherwise: Callable[[], nn.Module], dtype: torch.dtype
) -> None:
    """Fill ``part`` with what ``folder()`` holds (to find it may be to download it). Embeddings and head may have more
    rows than are stored: those become the mean of the stored ones, so that a base is the same wherever it is loaded.

    ``otherwise``: the part as transformers loads it whole, where names or files are of another kind. Under a placing
    that cuts, one process reads for all. Raises ``ModelError`` on all ranks where the weights do not fit.
    """
    place = current()
    targets = dict(_tensors(part))
    growing = {name for name, _ in _grown(part)}
    read: Reader | None = None
    error: ModelError | None = None
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(_reader, targets, growing, folder, otherwise) if place.reads else None
        place.finish(job)
    if job is not None:
        try:
            read = job.result()
        except ModelError as found:
            error = found
    place.agree(error)
    for name, target in targets.items():
        with torch.no_grad(), place.whole([target], of_first=True):
            if read is not None and error is None:
                try:
                    _put(target, read(name).to(dtype))
                except (RuntimeError, OSError, ValueError) as found:
                    error = ModelError(f"stored weights of {name} do not fit: {str(found).splitlines()[0]}")
    place.agree(error)


def _tensors(part: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, each once, and the buffers that are stored."""
    yield from part.named_parameters()
    kept = part.state_dict(keep_vars=True).keys()
    yield from ((name, buffer) for name, buffer in part.named_buffers() if name in kept)


def _grown(part: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Embeddings and head: what has a row a word."""
    heads = [getattr(part, name, lambda: None) for name in ("get_input_embeddings", "get_output_embeddings")]
    try:
        ids = {
            id(module.weight) for module in (head() for head in heads) if isinstance(module, nn.Embedding | nn.Linear)
        }
    except (AttributeError, NotImplementedError):  # an encoder without an embedding of words
        return
    yield from ((name, parameter) for name, parameter in part.named_parameters() if id(parameter) in ids)


def _put(target: Tensor, stored: Tensor) -> None:
    rows = len(stored) if stored.dim() else 0
    if stored.shape[1:] == target.shape[1:] and 0 < rows < len(target):
        target[:rows] = stored.to(target.device)
        target[rows:] = stored.to(target.device).mean(0)
    else:
        target.copy_(stored)


def _reader(
    targets: Mapping[str, Tensor], growing: set[str], folder: Callable[[], Path], otherwise: Callable[[], nn.Module]
) -> Reader:
    wanted = {name: _shape(tensor) for name, tensor in targets.items()}
    files = _files(folder())
    places = _same_names(wanted, growing, files) if files else None
    if places is not None:
        return lambda name: _read(*places[name])
    whole = otherwise().state_dict()
    lacking = sorted(set(wanted) - set(whole))
    other = [
        name for name in wanted if name in whole and not _fits(wanted[name], tuple(whole[name].shape), name in growing)
    ]
    if lacking or other:
        first = (lacking or other)[0]
        found = "not there" if lacking else f"{tuple(whole[first].shape)} there, {wanted[first]} here"
        raise ModelError(f"stored weights do not fit: {first} is {found}")
    return lambda name: whole[name]


def _shape(tensor: Any) -> Shape:
    return tuple(getattr(tensor, "ds_shape", tensor.shape))


def _fits(wanted: Shape, stored: Shape, grows: bool) -> bool:
    return stored == wanted or (grows and stored[1:] == wanted[1:] and 0 < stored[0] <= wanted[0])


def _files(folder: Path) -> dict[str, tuple[Path, Shape]]:
    """File and shape of every tensor in a folder's safetensors files; none where it has none, or not all of them (a
    download that was broken off)."""
    from safetensors import SafetensorError, safe_open

    if (folder / INDEX).is_file():
        names = sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))
    else:
        names = [SINGLE] if (folder / SINGLE).is_file() else []
    if not all((folder / name).is_file() for name in names):
        return {}
    found: dict[str, tuple[Path, Shape]] = {}
    for path in (folder / name for name in names):
        try:
            with safe_open(path, framework="pt") as file:
                found |= {name: (path, tuple(file.get_slice(name).get_shape())) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} cannot be read: {error}", hint="fetch the weights again") from error
    return found


def _read(path: Path, name: str) -> Tensor:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _same_names(
    wanted: Mapping[str, Shape], growing: set[str], files: Mapping[str, tuple[Path, Shape]]
) -> dict[str, tuple[Path, str]] | None:
    """Where each tensor lies: under its name, under one prefix before all of them, or without the first parts of the
    name that all have. None: not all are there, or more than one prefix serves."""
    first = next(iter(wanted))
    laws = {("", stored.removesuffix(first)) for stored in files if stored.endswith(first)}
    words = first.split(".")
    for count in range(1, len(words)):
        cut = ".".join(words[:count]) + "."
        if all(name.startswith(cut) for name in wanted):
            laws.add((cut, ""))
    found = []
    for cut, prefix in laws:
        places = {name: prefix + name.removeprefix(cut) for name in wanted}
        if all(
            stored in files and _fits(wanted[name], files[stored][1], name in growing)
            for name, stored in places.items()
        ):
            found.append(places)
    if len(found) != 1:
        return None
    return {name: (files[stored][0], stored) for name, stored in found[0].items()}
