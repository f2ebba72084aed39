"""Models out of a bucket: every file of a prefix, fetched once into the weights' cache."""

import fcntl
import tempfile
from pathlib import Path

from deemo_dist.digests import digest_of
from deemo_dist.errors import ModelError
from deemo_dist.storage import open_store
from deemo_dist.storage.elsewhere import elsewhere
from deemo_dist.weights.cache import cache_folder

KINDS = (".safetensors", ".json", ".txt", ".jinja", ".model", ".gguf")
"""What a model is read from. Pickles never are."""


def fetched(uri: str) -> Path:
    """The local folder with the files of ``uri`` (s3:// or file://), or the one GGUF file that it holds. Fetched again
    where the prefix has changed; of several processes one fetches, the others wait. Raises ``ModelError`` where there
    is no model, ``StorageError`` where it cannot be read."""
    uri = uri.rstrip("/")
    store = open_store(elsewhere(uri))
    files = [each for each in store.entries("") if each.key.endswith(KINDS)]
    if not files:
        raise ModelError(f"there is no model at {uri}", hint="a prefix with config.json and safetensors files")
    kept = cache_folder() / "prefixes"
    kept.mkdir(parents=True, exist_ok=True)
    name = digest_of([uri, [[each.key, each.size, each.modified] for each in files]])[:16]
    folder = kept / name
    with (kept / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=kept) as temporary:
                made = Path(temporary) / "made"
                for each in files:
                    store.download(each.key, made / each.key)
                made.rename(folder)
    alone = list(folder.glob("*.gguf"))
    return alone[0] if len(alone) == 1 and not (folder / "config.json").is_file() else folder
