"""A report's pictures and film; the preview page: what it shows, that it loads nothing, that no text becomes markup."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from deemo_dist.config import RunConfig
from deemo_dist.dataset import open_dataset
from deemo_dist.errors import DatasetError
from deemo_dist.evaluation.preview import Shown, figure, render_preview
from deemo_dist.media import decode_frames
from deemo_dist.records import NfblEvent
from deemo_dist.storage import open_store
from pipelines import preview
from pipelines.preview import film_of, pictures_of
from pipelines.preview_page import run_preview, spread
from tests.made import FRAMES, PEOPLE, clips_of, make

HOSTILE = "</blockquote><script>alert(1)</script>'\"><img src=http://evil.example/x onerror=alert(1)>{{ 7*7 }}"


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)


def test_a_page_of_a_dataset(config: RunConfig, tmp_path: Path) -> None:
    make(config, clips_of(), rejected=(1,))
    path = run_preview(config, clips=3, split=None, out=None)
    assert path == tmp_path / "cache/previews/demo-v1.html"
    page = path.read_text()
    rows = spread(open_dataset(open_store(config.storage), "demo", "v1").index, 3)
    parsed = Tags(page)
    assert parsed.tags.count("img") == 9 and parsed.tags.count("audio") == 3 and "script" not in parsed.tags
    assert all(link.startswith("data:") for link in parsed.links) and "default-src 'none'" in page
    assert all(row.key[:8] in page and row.key not in page for row in rows)
    assert "fist 0.1 to 0.4 s" in page and "words 0" in page and PEOPLE[0] not in page
    only = run_preview(config, clips=50, split="test", out=tmp_path / "out/x.html")
    assert Tags(only.read_text()).tags.count("audio") == 3
    with pytest.raises(DatasetError, match=r"no sample of the split 'dev'.*test, train"):
        run_preview(config, clips=3, split="dev", out=None)


def test_no_text_becomes_markup(config: RunConfig) -> None:
    make(config, clips_of(3))
    dataset = open_dataset(open_store(config.storage), "demo", "v1")
    row = replace(dataset.index[0], source=HOSTILE, subgroup={HOSTILE: HOSTILE})
    said = replace(
        dataset.annotations[row.key],
        transcript=HOSTILE,
        labels={HOSTILE: HOSTILE},
        texts={HOSTILE: HOSTILE},
        nfbl=(NfblEvent(start=0.0, end=99.0, type=HOSTILE), NfblEvent(start=50.0, end=60.0, type="x", score=0.5)),
    )
    shown = Shown(row=row, annotation=said, stills=[np.zeros((48, 64, 3), np.uint8)], times=[0.1])
    page = render_preview(HOSTILE, {HOSTILE: HOSTILE}, [shown])
    parsed = Tags(page)
    assert "script" not in parsed.tags and parsed.tags.count("img") == 1 and "49" not in re.findall(r"\b49\b", page)
    assert all(link.startswith("data:") for link in parsed.links) and "no sound" in page
    assert all(0 <= float(share) <= 100 for share in re.findall(r"(?:left|width): ([\d.]+)%;?", page) if "." in share)


def test_rows_are_spread_over_the_dataset() -> None:
    rows = list(range(100))
    assert spread(rows, 3) == [0, 49, 99] and spread(rows[:2], 5) == [0, 1] and spread([], 3) == []  # type: ignore[arg-type,comparison-overlap]


def test_a_figure_of_what_is_seen_stays_within_its_picture() -> None:
    pose = np.random.default_rng(1).normal(0, 4, (22, 3))
    pose[:, 2] = 0.9
    lines = figure(pose)
    assert len(lines) == 22 and all(0 <= value <= 150 for line in lines for value in line)
    pose[:, 2] = 0.1
    assert figure(pose) == []


def test_a_report_that_is_to_show_no_clip_shows_no_film(config: RunConfig) -> None:
    make(config, clips_of(3))
    store = open_store(config.storage)
    dataset = open_dataset(store, "demo", "v1")
    rows = list(dataset.index)
    assert pictures_of(rows, store, dataset, count=0) == () and film_of(rows, store, dataset, count=0) is None
    assert film_of(rows, store, dataset, count=1) is not None


def test_a_film_is_of_a_bounded_length(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    make(config, clips_of(3))
    store = open_store(config.storage)
    dataset = open_dataset(store, "demo", "v1")
    whole = film_of(list(dataset.index), store, dataset)
    monkeypatch.setattr(preview, "FILM_SECONDS", 0.05)
    short = film_of(list(dataset.index), store, dataset)
    assert whole is not None and short is not None
    assert len(decode_frames(short.mp4)) < len(decode_frames(whole.mp4)) == FRAMES
