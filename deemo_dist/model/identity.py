"""Which weights the parts of a model are made of, by digest: a name, a folder or a bucket may hold others tomorrow."""

from collections.abc import Mapping
from pathlib import Path

from deemo_dist.config import ModelConfig, config_digest
from deemo_dist.digests import digest_of
from deemo_dist.errors import ModelError
from deemo_dist.model.fetched import fetched
from deemo_dist.model.gguf import is_gguf
from deemo_dist.model.sources import RANDOM, URIS, WEIGHTS, folder_of, loaded
from deemo_dist.weights.files import digest_of_file, digests_of

SHOWN = 12
"""Digits of a digest in a message."""


def base_digests(config: ModelConfig, seed: int) -> dict[str, str]:
    """Hex SHA-256 of the weights of ``llm``, ``vision`` and ``audio`` as their sources give them now; of a random part,
    of what it is drawn from. Raises ``ModelError`` where a source cannot be had."""
    drawn = digest_of({"seed": seed, "model": config_digest(config)})
    sources = {"llm": config.llm.source, "vision": config.vision.source, "audio": config.audio.source}
    return {part: drawn if source == RANDOM else source_digest(source) for part, source in sources.items()}


def source_digest(source: str) -> str:
    """Hex SHA-256 that stands for a source's weights: the pinned one, that of a GGUF file, or over the names and
    digests of the files of a folder (fetched where it is elsewhere) that hold weights and their configuration.

    Nothing is read that was read before and has not changed since. Raises ``ModelError`` where it cannot be had.
    """
    if source.startswith(WEIGHTS):
        from deemo_dist.weights.registry import find

        return find(source.removeprefix(WEIGHTS)).sha256
    path = fetched(source) if source.startswith(URIS) else Path(source)
    digest: str = loaded(lambda: digest_of_file(path) if is_gguf(path) else _of_folder(folder_of(str(path))), source)
    return digest


def refuse_other_base(
    known: Mapping[str, str], now: Mapping[str, str], sources: Mapping[str, str], whose: str, *, hint: str
) -> None:
    """Raise ``ModelError`` where a part's weights are not those that ``whose`` was made over; a part that is not
    ``known`` is let pass (what was written before digests were kept)."""
    for part, digest in known.items():
        if now.get(part, digest) != digest:
            raise ModelError(
                f"{whose} was made over other {part} weights than '{sources.get(part, RANDOM)}' now gives"
                f" ({digest[:SHOWN]} then, {now[part][:SHOWN]} now)",
                hint=hint,
            )


def _of_folder(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file() and _tells(path.name))
    held = [path for path in files if path.suffix != ".json"]
    if not held:  # in an older form, which the hub keeps by the commit
        return digest_of(["commit", folder.name])
    return digest_of(dict(zip([path.name for path in files], digests_of(files), strict=True)))


def _tells(name: str) -> bool:
    """Whether a file of a model's folder has a say in the weights or in how they are used."""
    weights = name.endswith((".safetensors", ".bin")) and not name.startswith("consolidated")
    return weights or name in ("config.json", "model.safetensors.index.json")
