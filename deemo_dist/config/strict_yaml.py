"""YAML as configurations are read, and text that reads back as it was."""

import re
from typing import Any, ClassVar

import yaml

_READ_OTHERWISE = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_INT = re.compile(r"^[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$")
_FLOAT = re.compile(r"^[-+]?((\d+\.\d*|\.\d+)([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(inf|Inf|INF))$|^\.(nan|NaN|NAN)$")
_ENDS_A_LINE = re.compile("[\\x85\\u2028\\u2029]")
_REFERENCE = re.compile(r"(\\*)\$\{")


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key written twice. Of what YAML 1.1 makes of plain words, dates and times stay text
    (2026-12-01, 12:00:00) and 2e-5 is a number."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {
        first: [(tag, words) for tag, words in known if tag not in _READ_OTHERWISE]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is one word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Puts in quotes what YAML 1.1, by which others read, or ``_StrictLoader`` would not take for text."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Ends of lines other than ours are lost in single quotes."""
        style = '"' if _ENDS_A_LINE.search(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)

for _kind in (_StrictLoader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def read_yaml(text: str) -> Any:
    """What ``text`` says. Raises ``yaml.YAMLError``, also for a key that stands twice."""
    return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader


def write_yaml(data: Any) -> str:
    """Text by which a configuration reads plain ``data`` back as they are: nothing in them refers to something else."""
    return yaml.dump(_without_references(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _without_references(data: Any) -> Any:
    """``data`` whose texts hold OmegaConf's ``${`` as one that means itself, by a backslash before it; those that stand
    there already are doubled."""
    if isinstance(data, str):
        return _REFERENCE.sub(r"\1\1\\${", data)
    if isinstance(data, dict):
        return {key: _without_references(value) for key, value in data.items()}
    return [_without_references(value) for value in data] if isinstance(data, list) else data
