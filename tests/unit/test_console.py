"""What is hidden from the log, and what is not."""

import io
import json
import logging
import re
import sys
import warnings
from collections.abc import Iterator

import pytest
from rich.console import Console

from deemo_dist import console
from deemo_dist.console import MASK, hiding, logger, scrub, setup_logging

URI = "s3://bucket/Roland Garros/Zora Zamboni 03.mp4"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the project's logger writes as JSON lines."""
    stream = io.StringIO()
    before = (list(logger.handlers), logger.level, logger.propagate)
    monkeypatch.setenv("DEEMO_LOG", "json")
    setup_logging(verbose=True)
    handler = logger.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    yield stream
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.mark.parametrize(
    "text",
    [
        URI, "/mnt/x/zora zamboni 03.MP4 is gone", "Zora%20Zamboni%2003", "roland%20garros/a", "of Roland Garros",
        "bucket%2FRoland%20Garros%2FZora%20Zamboni%2003.mp4", "asked by QUENTIN QUASAR",
    ],
)  # fmt: skip
def test_a_name_is_hidden_however_it_is_written(text: str) -> None:
    assert scrub(text) == text
    with hiding(URI, "Quentin Quasar", None, ""):
        said = scrub(text).lower()
        assert MASK in said
        assert not any(word in said for word in ("zora", "zamboni", "roland", "garros", "quasar"))
    assert scrub(text) == text


def test_a_word_is_hidden_where_it_is_one() -> None:
    with hiding(words={"Ann", "Žofia"}):
        assert (
            scrub("ann_3, ANN's and %C5%BDofia of Annapolis planned it")
            == f"{MASK}_3, {MASK}'s and {MASK} of Annapolis planned it"
        )


def test_log_lines_tracebacks_and_other_libraries_are_scrubbed(lines: io.StringIO) -> None:
    others = io.StringIO()
    stranger = logging.getLogger("another.library")
    handler = logging.StreamHandler(others)
    stranger.addHandler(handler)
    try:
        with hiding(URI, "Quentin Quasar"):
            logger.info("reading %s", URI)
            stranger.error("Failed to validate text %s", "a Doctor Strange spoke")
            logger.warning("%d", "Quentin Quasar")
            warnings.warn("Doctor Strange, too", stacklevel=1)
            try:
                raise ValueError(f"cannot read {URI}")
            except ValueError:
                logger.exception("failed")
    finally:
        stranger.removeHandler(handler)
    said = lines.getvalue() + others.getvalue()
    rows = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [row["message"] for row in rows[:2]] == [f"reading {MASK}", "%d"]
    assert rows[2]["message"].startswith("UserWarning at ")
    assert "ValueError" in rows[3]["exception"]
    assert "another.library: error at " in others.getvalue()
    assert "Strange" not in said
    assert "zora" not in said.lower()
    assert "quasar" not in said.lower()


def test_nothing_is_hidden_afterwards_and_short_words_never(lines: io.StringIO) -> None:
    factory = logging.getLogRecordFactory()
    with hiding("Quentin Quasar"), hiding("7", "file:///raw/a.mp4"):
        logger.info("7 of 7 clips")
    logger.info("Quentin Quasar")
    assert [json.loads(line)["message"] for line in lines.getvalue().splitlines()] == ["7 of 7 clips", "Quentin Quasar"]
    assert logging.getLogRecordFactory() is factory
    assert not console._hidden


def test_progress_without_a_terminal_is_lines_of_counts_rate_and_time_left(
    lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "console", Console(file=io.StringIO(), force_terminal=False))
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.progress("preprocess", 40, unit="clips", groups=4, group_unit="shards") as bar:
        for _ in range(4):
            now[0] += 6.0
            bar.advance(10, groups=1)
    with console.progress("copying", None) as bar:
        now[0] += 5.0
        bar.advance(10)
    assert [json.loads(line)["message"] for line in lines.getvalue().splitlines()] == [
        "preprocess: 20/40 clips, 2/4 shards, 1.7 clips/s, 0:00:12 left",
        "preprocess: 40/40 clips, 4/4 shards, 1.7 clips/s, in 0:00:24",
        "copying: 10 items, 2.0 items/s, in 0:00:05",
    ]


def test_progress_on_a_terminal_fits_a_line_and_log_lines_stand_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(console, "console", Console(stderr=True, force_terminal=True, width=80, color_system=None))
    before = (list(logger.handlers), logger.level, logger.propagate)
    setup_logging()
    try:
        with console.progress("preprocess", 24_000, unit="clips", groups=2_400, group_unit="shards") as bar:
            logger.warning("a worker died")
            bar.advance(12_000, groups=1_200)
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue()).replace("\r", "\n").splitlines()
    assert "a worker died" in [line.strip() for line in shown]
    last = [line for line in shown if "12000/24000 clips  1200/2400 shards" in line][-1]
    assert "clips/s" in last and len(last) <= 80
