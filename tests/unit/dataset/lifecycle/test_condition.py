"""Conditions: what they say of a row, and that nothing in them is ever executed."""

from dataclasses import replace
from typing import Any

import pytest

from deemo_dist.dataset.lifecycle.condition import parse_condition
from deemo_dist.errors import ConfigError
from deemo_dist.records import IndexRow


@pytest.fixture
def row(made: Any) -> IndexRow:
    from deemo_dist.dataset.sample import index_row

    sample = replace(made.sample(made.clips(1)[0], 0), source="it's x")
    return index_row(sample, 0, "shard", ())


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("fps >= 8", True),
        ("fps > 8", False),
        ("1 < fps <= 8 and frames == 12", True),
        ("seconds == 1.5 and -1 < frames", True),
        ('source == "it\'s x" or fps > 100', True),
        ("split in ('train', 'test')", True),
        ("not split in ['test']", True),
        ("split not in {'test'}", True),
        ("subgroup.hand == 'right'", True),
        ("subgroup.hand != 'right'", False),
        ("subgroup.none == 'x'", False),
        ("subgroup.none != 'x'", True),
        ("attestation.voice == 'world' and attestation.pii_entities < 2", True),
        ("attestation.seconds == 0.25", True),
        ("attestation.unmeasured > 0", False),
    ],
)
def test_what_a_condition_says(row: IndexRow, text: str, holds: bool) -> None:
    assert parse_condition(text)(row) is holds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fps",
        "fps >=",
        "fps = 24",
        "fps == 'x'",
        "source == 3",
        "split in (1, 2)",
        "split in 'train'",
        "nothing > 3",
        "key == 'a'",
        "subject_key == 'a'",
        "attestation.key_id == 'a'",
        "subgroup.a.b == 'c'",
        "__import__('os').system('true') == 0",
        "[x for x in (1,)] == 1",
        "(lambda: 1)() == 1",
        "f'{fps}' == '8'",
        "fps is 8",
        "fps + 1 > 2",
        "(fps := 3) > 2",
        "fps.__class__ == 'x'",
        "not " * 20_000 + "fps > 1",
        "(" * 900 + "fps" + ")" * 900 + " > 1",
        "fps > 1 and " * 3000 + "fps > 1",
        "source == '\x00'",
    ],
)
def test_what_is_not_understood_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_condition(text)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 2300
