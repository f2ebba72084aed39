"""Whom a file or standard input names."""

import io
from pathlib import Path

import pytest

from deemo_dist.errors import ConfigError
from pipelines.verbs.datasets import first_line


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str) -> None:
    text = f"{mark}Zo\u00eb\r\nnot this line\r\n"
    (tmp_path / "who").write_text(text, encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert first_line(tmp_path / "who") == "Zo\u00eb"
    assert first_line(Path("-")) == "Zo\u00eb"


def test_a_byte_order_mark_alone_names_nobody(tmp_path: Path) -> None:
    (tmp_path / "who").write_text("\ufeff\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="names nobody"):
        first_line(tmp_path / "who")
