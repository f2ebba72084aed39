"""Importers: a manifest under its digest; every bad row named by file and line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deemo_dist.config import StorageConfig
from deemo_dist.dataset import import_clips, manifest_digest, read_manifest, write_manifest
from deemo_dist.dataset.ingest import refuse_split_subjects
from deemo_dist.errors import CorruptDataError, DatasetError, NotFoundError
from deemo_dist.records import NfblEvent
from deemo_dist.storage import Store

CONFIG = StorageConfig()
ROW = {"uri": "a.mp4", "subject": "Ann", "split": "train"}


def folder_of(tmp_path: Path, *rows: Any) -> Path:
    (tmp_path / "a.mp4").write_bytes(b"12345")
    (tmp_path / "b clip ü.mp4").write_bytes(b"")
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_a_folder_with_its_jsonl(tmp_path: Path) -> None:
    full = {
        "uri": "b clip ü.mp4",
        "subject": "Böb",
        "split": "test",
        "source": "mine",
        "transcript": "Hello\u2028there",
        "labels": {"emotion": "positive"},
        "nfbl": [{"start": 0, "end": 1.5, "type": "fist"}],
    }
    folder = folder_of(tmp_path, ROW, "", full)
    clips = import_clips(str(folder), CONFIG)
    assert [clip.size_bytes for clip in clips] == [5, 0]
    assert clips[0].uri == f"file://{folder.resolve()}/a.mp4"
    assert (clips[0].source, clips[1].source) == ("folder", "mine")
    assert clips[1].nfbl == (NfblEvent(start=0.0, end=1.5, type="fist"),)
    assert import_clips(str(folder / "manifest.jsonl"), CONFIG) == clips
    assert import_clips(f"file://{folder / 'manifest.jsonl'}", CONFIG) == clips


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{not json", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ({**ROW, "uri": "none.mp4"}, "its file does not exist"),
        ({**ROW, "split": "dev"}, "split 'dev' is not one of train, validation, test"),
        ({**ROW, "subject": ""}, "'subject' is missing"),
        ({**ROW, "lables": {}}, "did you mean 'labels'"),
        ({**ROW, "labels": {"emotion": 3}}, "'labels' is not a mapping"),
        ({**ROW, "nfbl": [{"start": 2, "end": 1, "type": "x"}]}, "not a span of seconds"),
        ({**ROW, "nfbl": [{"start": 2}]}, "'nfbl' is not a list of"),
        ({**ROW, "size_bytes": -1}, "'size_bytes'"),
        (ROW, "the same clip as line 1"),
        ({**ROW, "uri": "b clip ü.mp4", "split": "test"}, "split 'test', but its subject is in 'train' by line 1"),
        ('{"uri": "a.mp4", "subject": "A", "split": "train", "transcript": "\\ud83d"}', "'transcript' holds half a ch"),
        (
            '{"uri": "a.mp4", "subject": "A", "split": "train", "labels": {"\\ud83d": "x"}}',
            "'labels' holds half a char",
        ),
        ('{"uri": "a.mp4", "\\ud83d": "A", "split": "train"}', "there is no field"),
        ({**ROW, "size_bytes": 10**20}, "'size_bytes' is not a number of bytes"),
        ({**ROW, "uri": "b\0.mp4"}, "'uri' holds a NUL"),
        ({**ROW, "uri": "b\0.mp4", "size_bytes": 1}, "'uri' holds a NUL"),
        ({**ROW, "uri": "b" * 5000 + ".mp4"}, "its file does not exist"),
        ({**ROW, "uri": "http://x/a.mp4"}, "not fetched by http://: use file:// or s3://"),
        ({**ROW, "uri": "http://x/a.mp4", "size_bytes": 1}, "not fetched by http://"),
        ({**ROW, "uri": "s3://bucket", "size_bytes": 1}, "names no object"),
        ({**ROW, "uri": "s3:///key"}, "names no object"),
        ({**ROW, "uri": "s3://no bucket!/a.mp4"}, "no valid S3 name"),
        ({**ROW, "nfbl": [{"start": 10**400, "end": 1, "type": "x"}]}, "'nfbl' is not a list of"),
        ("[" * 100_000, "not a JSON object"),
        (f'{{"uri": "a.mp4", "subject": "A", "split": "train", "labels": {"[" * 900 + "]" * 900}}}', "'labels' is not"),
    ],
)
def test_bad_rows_are_named_by_file_and_line(tmp_path: Path, row: Any, said: str) -> None:
    folder = folder_of(tmp_path, ROW, row)
    with pytest.raises(DatasetError, match=said) as caught:
        import_clips(str(folder), CONFIG)
    assert f"{folder}/manifest.jsonl:2: " in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).encode()
    assert "Ann" not in str(caught.value)


def test_a_manifest_with_a_subject_in_two_splits_is_refused_and_names_nobody(made: Any) -> None:
    clips = made.clips(9, split="train")
    refuse_split_subjects(clips)
    clips[4] = replace(clips[4], split="test")
    clips[8] = replace(clips[8], split="validation")
    with pytest.raises(
        DatasetError, match=r"2 subjects have .* more than one split \(first: rows 4 and 5 of"
    ) as caught:
        refuse_split_subjects(clips)
    assert "subject 1" not in str(caught.value)


@pytest.mark.parametrize("other", ["Zoe\u0308", " Zo\u00eb", "Zo\u00eb "])
def test_a_subject_in_two_splits_by_two_spellings_is_refused(made: Any, tmp_path: Path, other: str) -> None:
    clips = [replace(clip, subject="Zo\u00eb") for clip in made.clips(3, split="train")]
    refuse_split_subjects([*clips[:2], replace(clips[2], subject=other)])
    with pytest.raises(DatasetError, match=r"1 subjects have .* \(first: rows 1 and 3 of"):
        refuse_split_subjects([*clips[:2], replace(clips[2], subject=other, split="test")])
    folder = folder_of(
        tmp_path, {**ROW, "subject": "Zo\u00eb"}, {**ROW, "uri": "b clip ü.mp4", "subject": other, "split": "test"}
    )
    with pytest.raises(DatasetError, match="its subject is in 'train' by line 1"):
        import_clips(str(folder), CONFIG)


def test_all_bad_rows_are_counted(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *({**ROW, "uri": f"{n}.mp4"} for n in range(25)))
    with pytest.raises(DatasetError, match=r":10: .*and 15 more.*25 bad rows"):
        import_clips(str(folder), CONFIG)


def test_sources_that_nothing_imports(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "none", "ftp://x"):
        with pytest.raises(DatasetError):
            import_clips(str(source), CONFIG)
    (tmp_path / "bad.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="not UTF-8"):
        import_clips(str(tmp_path), CONFIG)


def test_a_manifest_is_kept_under_its_digest(made: Any, store: Store) -> None:
    clips = made.clips(7)
    key, digest = write_manifest(clips, store)
    assert (key, digest) == (f"manifests/{digest}.parquet", manifest_digest(clips))
    assert read_manifest(store.uri(key), CONFIG) == clips
    assert write_manifest(clips, store) == (key, digest)
    assert manifest_digest(clips[::-1]) != digest
    with pytest.raises(DatasetError, match="names a clip twice"):
        write_manifest([*clips, clips[0]], store)


def test_bad_manifests_are_refused(made: Any, store: Store) -> None:
    key, _ = write_manifest(made.clips(3), store)
    data = store.get(key)
    with pytest.raises(NotFoundError):
        read_manifest(store.uri("manifests/none.parquet"), CONFIG)
    store.put("manifests/other.parquet", data)
    with pytest.raises(CorruptDataError, match="do not have the digest"):
        read_manifest(store.uri("manifests/other.parquet"), CONFIG)
    for bad in (b"", data[:-9], b"text"):
        store.put(key, bad)
        with pytest.raises(CorruptDataError, match="not a readable Parquet"):
            read_manifest(store.uri(key), CONFIG)


def mertools_of(tmp_path: Path) -> Path:
    (tmp_path / "video").mkdir()
    for name in ("clip_1", "clip_2", "clip_3"):
        (tmp_path / "video" / f"{name}.mp4").write_bytes(b"x")
    (tmp_path / "track1_train_disdim.csv").write_text("name,discrete,valence\nclip_1,happy,3.5\nclip_2,sad,-1\n")
    (tmp_path / "track1_test_dis.csv").write_text("name,discrete\nclip_3,angry\n")
    (tmp_path / "track3_train_ovmerd.csv").write_text('name,reason\nclip_1,"smiles,\nand laughs"\n')
    (tmp_path / "track_all_candidates.csv").write_text("name\nclip_9\n")
    (tmp_path / "subtitle_chieng.csv").write_text(
        "name,chinese,english\nclip_1,好,good\nclip_2,不,\n", encoding="utf-8"
    )
    return tmp_path


def test_mertools(tmp_path: Path) -> None:
    clips = {clip.uri.rsplit("/", 1)[1]: clip for clip in import_clips(str(mertools_of(tmp_path)), CONFIG)}
    assert sorted(clips) == ["clip_1.mp4", "clip_2.mp4", "clip_3.mp4"]
    one, two, three = (clips[f"clip_{number}.mp4"] for number in (1, 2, 3))
    assert (one.split, one.labels, one.transcript) == ("train", {"emotion": "happy"}, "good")
    assert one.texts == {"valence": "3.5", "reasoning": "smiles,\nand laughs"}
    assert (two.transcript, two.source, two.subject) == ("不", "mertools", "clip_2")
    assert (three.split, three.transcript) == ("test", None)


def test_bad_mertools_rows_are_named(tmp_path: Path) -> None:
    folder = mertools_of(tmp_path)
    table = folder / "track1_train_disdim.csv"
    table.write_text("name,discrete\nclip_1,happy\nclip_7,sad\n,sad\n")
    with pytest.raises(DatasetError, match=r"disdim.csv:3: its file does not exist; .*disdim.csv:4: 'uri' is missing"):
        import_clips(str(folder), CONFIG)
    table.write_text("name,discrete\nclip_3,happy\n")
    with pytest.raises(DatasetError, match=r"disdim.csv:2: discrete is 'happy', another row says 'angry'"):
        import_clips(str(folder), CONFIG)
    table.write_text("id,discrete\nclip_3,happy\n")
    with pytest.raises(DatasetError, match=r"disdim.csv:1: there is no column 'name'"):
        import_clips(str(folder), CONFIG)
