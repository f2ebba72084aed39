"""Load a run's configuration: YAML files with a list of bases, dotted overrides, a digest."""

import dataclasses
import os
import typing
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deemo_dist.config.bounds import check_bounds
from deemo_dist.config.build import build, check_keys
from deemo_dist.config.fields import semantic
from deemo_dist.config.masks import mask_user
from deemo_dist.config.overrides import override_of
from deemo_dist.config.schema import RunConfig
from deemo_dist.config.strict_yaml import read_yaml, write_yaml
from deemo_dist.digests import digest_of, plain
from deemo_dist.errors import ConfigError

BASES = "bases"
_ADDRESSES = (
    ("tracking", "uri"),
    ("storage", "endpoint"),
    ("weights", "mirror"),
    ("execution", "address"),
    ("launch", "ray_address"),
)
_FOLDERS = (("storage", "cache"), ("engine", "nvme_path"), ("engine", "profile_folder"))
CONFIGS = Path(__file__).parents[2] / "configs"


def load(name: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> RunConfig:
    """Load the run ``name``: a path, or a name under ``configs/runs``; then apply overrides such as ``engine.ranks=4``.

    Raises ``ConfigError`` that names the file, the key and the nearest right one.
    """
    path = find(name)
    merged = _layers(path, ())
    for override in overrides:
        below = typing.cast(dict[str, Any], OmegaConf.to_container(merged))
        merged = _merge(merged, override_of(override, RunConfig, below), where=f"override '{override}'")
    try:
        data = OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {_first_line(error)}") from error
    config = build(RunConfig, data, where=str(path))  # type: ignore[arg-type]
    check_bounds(config, where=str(path))
    return _at_home(config)


def _at_home(config: RunConfig) -> RunConfig:
    """``~`` in the folders of this machine is the home folder: no shell has replaced it behind a sign =."""
    for part, name in _FOLDERS:
        whole = getattr(config, part)
        place = os.path.expanduser(getattr(whole, name))  # noqa: PTH111 - an empty one stays so, and ~nobody too
        config = dataclasses.replace(config, **{part: dataclasses.replace(whole, **{name: place})})
    return config


def find(name: str | Path) -> Path:
    """The file of a run: a path that exists, else ``configs/runs/NAME.yaml``. Raises ``ConfigError`` with the names."""
    for candidate in (Path(name), CONFIGS / "runs" / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    known = sorted(path.stem for path in (CONFIGS / "runs").glob("*.yaml"))
    raise ConfigError(f"there is no run '{name}'", hint=f"a YAML file, or one of: {', '.join(known)}")


def _layers(path: Path, above: tuple[Path, ...]) -> DictConfig:
    """The file merged over its bases, in their order; a base is looked up beside the file, then under ``configs/``."""
    if path.resolve() in above:
        raise ConfigError(f"{path}: its bases come back to it", hint="remove the circle")
    data = _read(path)
    bases = data.pop(BASES, [])
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: '{BASES}' must be a list of names", hint="such as [models/nano, policies/standard]")
    check_keys(RunConfig, data, where=str(path))
    merged = OmegaConf.create()
    for base in bases:
        merged = _merge(merged, _layers(_base(base, path), (*above, path.resolve())), where=f"{path}: base '{base}'")
    return _merge(merged, data, where=str(path))


def _base(name: str, path: Path) -> Path:
    for candidate in (
        path.parent / f"{name}.yaml",
        CONFIGS / f"{name}.yaml",
        path.parent / name,
        CONFIGS / name,
    ):
        if candidate.is_file():
            return candidate
    raise ConfigError(f"{path}: its base '{name}' does not exist", hint="looked beside it and under configs/")


def _read(path: Path) -> dict[str, Any]:
    try:
        data = read_yaml(path.read_text())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a configuration is a mapping of keys", hint="is the file empty?")
    return data


def _merge(below: DictConfig, above: dict[str, Any] | DictConfig, *, where: str) -> DictConfig:
    plain_data = OmegaConf.to_container(above) if isinstance(above, DictConfig) else above
    check_keys(RunConfig, plain_data, where=where)
    try:
        merged = OmegaConf.merge(below, OmegaConf.create(above))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{where}: {_first_line(error)}") from error
    assert isinstance(merged, DictConfig)
    return merged


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def config_digest(config: Any) -> str:
    """Hex SHA-256 over the semantic fields of a config or a part of it: the same wherever it runs."""
    return digest_of(semantic(config))


def shareable(config: RunConfig) -> RunConfig:
    """The configuration as reports, exports and MLflow show it: without where raw clips and the root key are, and
    without the users and passwords of URIs. Folders are named by people, at times after people."""
    hidden = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, manifest=None),
        keys=dataclasses.replace(config.keys, path=None),
    )
    for part, name in _ADDRESSES:
        whole = getattr(hidden, part)
        if (address := getattr(whole, name)) is not None:
            hidden = dataclasses.replace(hidden, **{part: dataclasses.replace(whole, **{name: mask_user(address)})})
    return hidden


def to_yaml(config: RunConfig) -> str:
    """The resolved configuration as YAML: what is saved with every output. It holds no secrets by construction."""
    return write_yaml(plain(config))
