"""Nobody is named behind the door: names planted in everything raw are looked for in everything that was left behind.

Raw side, where names are: the raw folder and ``manifests/`` in the store. All else must be free of them: the dataset,
run folders, caches, logs, what Ray kept, MLflow's database and artifacts, the report, and every command line meanwhile.
"""

import contextlib
import gzip
import io
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deemo_dist.dataset import Dataset, open_dataset, read_manifest
from deemo_dist.deid import KeyRing
from deemo_dist.media import Bounds, Sandbox
from deemo_dist.records import Clip
from deemo_dist.storage import open_store
from tests.leaks import Needles
from tests.system.conftest import Project

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]  # the whole chain, and the audit, before the first test

SUBJECTS = ("Zorvana Quibblestone", "Žofia O'Quellington", "Bartholomew Featherstonehaugh", "Wilhelmina Drosselmeyer")
SPOKEN = ("Quentin Abernathy", "Rosalind Thistlewood")
FOLDER = "Interviews of Yolanda Umbrecht"
FILES = ("Xaquelon at Vexholm", "100% of Tibbleford & Sons", "Umbrecht_Yolanda")
HIDDEN = "Grizelda Plumbottom"
NAMES = (*SUBJECTS, *SPOKEN, FOLDER, *FILES, HIDDEN, "Yolanda Umbrecht")
ORDINARY = {"interviews", "of", "at", "sons", "o"}
WORDS = sorted({word for name in NAMES for word in re.findall(r"[^\W\d_]+", name) if word.lower() not in ORDINARY})
PLANTED = (*NAMES, *WORDS)
_drawn = np.random.default_rng(3)
PIXELS = _drawn.bytes(48)  # of sixteen pixels in a row, RGB
SAMPLES = _drawn.integers(-500, 500, 64).astype("<i2")
SPILLING = {
    "RAY_max_direct_call_object_size": "1",  # whatever goes to a worker goes through the object store,
    "RAY_object_spilling_threshold": "0.0",  # and whatever is in the object store is spilled to disk
    "RAY_min_spilling_size": "0",
}
RUN = """
bases: [models/nano, policies/standard, tasks/emotion]
name: names
keys: {source: environment}
data: {name: names, version: v1, shard_bytes: 200_000, failure_budget: 0.6}
execution: {executor: ray, workers: 1}
engine: {ranks: 1, threads: 1, checkpoint_every: 1}
evaluation: {task: emotion, explain_task: explain, split: test, bootstrap: 10, explanations: 1, preview_clips: 1}
stages:
  instruct:
    tasks: [emotion, explain]
    packs_per_step: 2
    max_tokens: 512
    trains: {"*projector*": {lr: 5e-4}}
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four films with names in every corner of them, one of them gone later, one that is none; their manifest."""
    from deemo_dist.samples import generate_clips

    clean = generate_clips(tmp_path_factory.mktemp("clean"), subjects=2, clips_per_subject=2, seed=3, workers=1)
    folder = tmp_path_factory.mktemp("raw") / FOLDER
    folder.mkdir()
    mark(clean[1])
    splits = ("train", "train", "test", "train")
    names = (f"{FILES[0]}.mp4", f"{FILES[1]}.mkv", f"{FILES[2]}.mp4", "Gone from Vexholm.mp4")
    rows = [
        _planted(clip, folder / name, subject, split)
        for clip, name, subject, split in zip(clean, names, SUBJECTS, splits, strict=True)
    ]
    (folder / "Not of Vexholm.mp4").write_bytes(b"\0\0\0 ftypmp42" + HIDDEN.encode() * 40)
    rows.append(replace(rows[0], uri=str(folder / "Not of Vexholm.mp4"), size_bytes=600))
    lines = [json.dumps({**vars(row), "nfbl": [vars(event) for event in row.nfbl]}) for row in rows]
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return folder


def mark(clip: Clip) -> None:
    """Make a film lossless, with ``PIXELS`` in the corner of every frame and ``SAMPLES`` in its sound each second."""
    import av

    path, pieces = Path(clip.uri.removeprefix("file://")), count()
    made = path.with_suffix(".mkv")
    with av.open(str(path)) as film, av.open(str(made), "w") as out:
        picture = out.add_stream("ffv1", rate=film.streams.video[0].average_rate, pix_fmt="bgr0")
        heard = out.add_stream("pcm_s16le", rate=16_000, layout="mono")
        first = film.streams.video[0]
        picture.width, picture.height = first.width, first.height
        resampler = av.AudioResampler("s16", "mono", 16_000)
        for frame in film.decode(video=0, audio=0):
            if isinstance(frame, av.VideoFrame):
                pixels = frame.to_ndarray(format="rgb24")
                pixels[0, : len(PIXELS) // 3] = np.frombuffer(PIXELS, np.uint8).reshape(-1, 3)
                shown = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                shown.pts, shown.time_base = frame.pts, frame.time_base
                out.mux(picture.encode(shown))
                continue
            for piece in resampler.resample(frame):
                samples = piece.to_ndarray()
                if next(pieces) % 16 == 0 and samples.shape[1] >= len(SAMPLES):
                    samples[0, : len(SAMPLES)] = SAMPLES
                said = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                said.pts, said.rate, said.time_base = piece.pts, piece.rate, piece.time_base
                out.mux(heard.encode(said))
        out.mux(picture.encode(None))
        out.mux(heard.encode(None))
    made.replace(path)


def raw_bytes() -> Needles:
    """What was planted in pixels and in sound, as a decoder gives it: float32 too."""
    floats = (SAMPLES / np.float32(32768)).astype(np.float32).tobytes()
    planar = np.frombuffer(PIXELS, np.uint8).reshape(-1, 3).T
    pixels = dict.fromkeys((PIXELS, *(row.tobytes() for row in planar)), "pixels")
    return Needles((), raw={**pixels, SAMPLES.tobytes(): "sound", floats: "sound"})


def _planted(clip: Clip, path: Path, subject: str, split: str) -> Clip:
    """The clip with names in its file, and in what is said of it."""
    film_with_names(Path(clip.uri.removeprefix("file://")), path)
    return replace(
        clip,
        uri=str(path),
        subject=subject,
        split=split,
        size_bytes=path.stat().st_size,
        transcript=f"I am {subject}, and {SPOKEN[0]} spoke to me on Monday.",
        texts={**clip.texts, "reasoning": f"{clip.texts['reasoning']} Then {SPOKEN[1]} comes in."},
    )


def film_with_names(source: Path, path: Path) -> None:
    """Copy a film; tags, place, stream titles, chapters, and by its kind subtitles, a thumbnail and XMP name people."""
    import av

    captions = path.with_suffix(".srt")
    captions.write_text(f"1\n00:00:00,000 --> 00:00:02,000\n{HIDDEN}\n\n")
    matroska = path.suffix == ".mkv"
    with av.open(str(source)) as film, av.open(str(captions)) as words, av.open(str(path), "w") as out:
        tags = dict.fromkeys(("title", "artist", "comment", "description"), HIDDEN)
        out.metadata.update({**tags, "location": "+48.8584+002.2945/"})
        inputs = [(stream, box) for box in (film, words) for stream in box.streams if box is film or matroska]
        streams = {stream: out.add_stream_from_template(stream) for stream, _ in inputs}
        for stream in streams.values():
            stream.metadata.update({"title": HIDDEN, "handler_name": HIDDEN})
        if matroska:
            out.add_attachment(
                f"{HIDDEN}.jpg", "image/jpeg", b"\xff\xd8\xff\xfe\x00\x20" + HIDDEN.encode() + b"\xff\xd9"
            )
        chapter = {"id": 1, "start": 0, "end": 1500, "time_base": Fraction(1, 1000), "metadata": {"title": HIDDEN}}
        out.set_chapters([chapter])  # type: ignore[list-item]
        for box in (words, film):
            for packet in box.demux():
                if packet.dts is not None and packet.stream in streams:
                    packet.stream = streams[packet.stream]
                    out.mux(packet)
    captions.unlink()
    if not matroska:
        note = b"\xbe\x7a\xcf\xcb\x97\xa9\x42\xe8\x9c\x71\x99\x94\x91\xe3\xaf\xac<x:xmpmeta>" + HIDDEN.encode()
        with path.open("ab") as file:
            file.write((8 + len(note)).to_bytes(4, "big") + b"uuid" + note)


class _Meanwhile:
    """What is there for a while only: every command line and process title on this machine, and what Ray spills to
    disk below ``ray_folder``, copied to ``spilled``."""

    def __init__(self, ray_folder: Path, spilled: Path) -> None:
        self.seen: set[bytes] = set()
        self._ray, self._spilled = ray_folder, spilled
        spilled.mkdir()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "_Meanwhile":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.1):
            for path in self._ray.glob("ray/session_*/ray_spilled_objects_*/*"):
                with contextlib.suppress(OSError):  # it is gone
                    shutil.copyfile(path, self._spilled / path.name)
            for file in ("cmdline", "comm"):
                for path in Path("/proc").glob(f"[0-9]*/{file}"):
                    with contextlib.suppress(OSError):  # it has ended
                        self.seen.add(path.read_bytes())


@pytest.fixture(scope="module")
def ray_folder() -> Iterator[Path]:
    """Where Ray keeps its session and spill files: a short path, since it makes sockets there."""
    folder = Path(tempfile.mkdtemp(prefix="nn-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def done(raw: Path, ray_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Dataset]:
    """The chain over the planted clips: with Ray, MLflow, failing clips, and a run that fails with its traceback."""
    folder = tmp_path_factory.mktemp("project")
    run = tmp_path_factory.mktemp("operator") / "names.yaml"  # it says where raw clips are, and is not looked through
    run.write_text(RUN)
    env = {"RAY_TMPDIR": str(ray_folder), "DEEMO_ROOT_KEY": os.urandom(32).hex(), **SPILLING}
    project = Project(folder, f"file://{folder / 'store'}", env=env, run=run)
    said = project.deemo("ingest", str(raw / "manifest.jsonl"))
    found = next(word for word in said.split() if word.startswith("data.manifest=")).removeprefix("data.manifest=")
    manifest = raw / Path(found).name
    shutil.copyfile(found.removeprefix("file://"), manifest)
    run.write_text(RUN.replace("failure_budget: 0.6", f"failure_budget: 0.6, manifest: {json.dumps(str(manifest))}"))
    (raw / "Gone from Vexholm.mp4").unlink()
    with _Meanwhile(ray_folder, folder / "spilled") as titles:
        said = project.deemo("run")
        failed = ("execution.executor=local", "data.version=v2", "data.failure_budget=0")
        said += project.deemo("--debug", "--verbose", "preprocess", more=failed, code=1)
        said += project.deemo("dataset", "show")
        said += project.deemo("dataset", "verify", "--deep")
        shutil.copyfile(manifest, run.with_name(manifest.name))  # what is typed into a shell names nobody
        said += project.deemo("audit", "--raw", str(run.with_name(manifest.name)))
    (folder / "everything that was said.log").write_text(said)
    (folder / "command lines.log").write_bytes(b"\n".join(sorted(titles.seen)))
    assert "Traceback" in said
    return project, open_dataset(project.store, "names", "v1")


def test_no_byte_that_is_left_names_anybody(done: tuple[Project, Dataset], ray_folder: Path) -> None:
    project, dataset = done
    rejected = {(row.stage, row.reason) for row in dataset.ledger if row.status == "rejected"}
    assert len(dataset.index) == 3
    assert ("fetch", "missing") in rejected
    assert len(rejected) == 2
    assert any(path.suffix == ".db" for path in project.folder.rglob("*")), "MLflow kept nothing"
    needles = Needles(PLANTED)
    assert list((project.folder / "spilled").iterdir()), "Ray spilled nothing"
    leaks, count = needles.below(project.folder, leave_out="/store/manifests/")
    assert not leaks
    assert count > 40
    leaks, count = needles.below(ray_folder)
    assert not leaks
    assert count > 10, "Ray kept nothing"
    leaks, _ = needles.below(Path("/dev/shm"))
    assert not leaks


def test_no_sample_and_no_pixel_of_a_raw_clip_is_left(
    done: tuple[Project, Dataset], raw: Path, ray_folder: Path
) -> None:
    """What was planted is what a decoder gives, and is in no file: neither of Ray's, nor of what it spilled."""
    needles = raw_bytes()
    with Sandbox() as sandbox:
        clip = sandbox.decode(raw / f"{FILES[1]}.mkv", Bounds())
    assert clip.frames is not None and clip.waveform is not None
    for data, what in ((clip.frames.tobytes(), "pixels"), (clip.waveform.tobytes(), "sound")):
        assert {leak.needle for leak in needles.within(data, "decoded")} == {what}
    for folder in (ray_folder, done[0].folder, Path("/dev/shm")):
        leaks, _ = needles.below(folder)
        assert not leaks


def test_released_films_hold_nothing_but_the_film(done: tuple[Project, Dataset]) -> None:
    import av

    project, _ = done
    for key in project.store.list("datasets/names/v1/shards/"):
        with tarfile.open(fileobj=io.BytesIO(project.store.get(key))) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
            assert all(member.mtime == member.uid == member.gid == 0 and not member.uname for member in tar)
        assert {name.partition(".")[2] for name in members} - {"hands.npy"} == {"mp4", "flac", "cues.npy", "json"}
        for name, data in members.items():
            if not name.endswith(("mp4", "flac")):
                continue
            with av.open(io.BytesIO(data)) as film:
                assert [stream.type for stream in film.streams] == ["video" if name.endswith("mp4") else "audio"]
                assert film.chapters() == []
                assert film.metadata.keys() <= {"major_brand", "minor_version", "compatible_brands", "encoder"}
                assert film.streams[0].metadata.keys() <= {"language", "handler_name", "vendor_id", "encoder"}
                assert film.streams[0].metadata.get("handler_name", "VideoHandler") == "VideoHandler"
            for box in (b"uuid", b"loci", b"\xa9xyz", b"covr", b"chap", b"tref", b"xmpmeta", b"PICTURE"):
                assert box not in data, f"{name} has {box!r}"


def test_resolve_finds_the_people_again(done: tuple[Project, Dataset], raw: Path) -> None:
    project, dataset = done
    config = project.config()
    uri = str(config.data.manifest)
    row = dataset.index[0]
    asked = [row.key[:8], row.subject_key, "0" * 32]
    said = project.deemo("resolve", *asked, "--manifest", uri, code=1)
    assert f"{row.key}  sample  file://" in said
    assert f"{row.subject_key}  subject  " in said
    assert any(subject in said for subject in SUBJECTS)
    assert f"{'0' * 32} is unknown" in said.splitlines()[-1]
    lost = project.deemo("resolve", row.key, more=["data.name=other"], code=1)
    assert "is unknown" in lost
    assert "no key" in project.deemo("resolve", "Zorvana", code=2)
    clips = read_manifest(uri, config.storage)
    assert str(raw) in clips[0].uri
    stranger = KeyRing.open(replace(config.keys, source="demo"), dataset="names")
    assert stranger.sample_key(clips[0].uri) not in {row.key for row in dataset.ledger}
    assert open_store(config.storage).list("datasets/names/v1/")


def _packings(folder: Path, text: str) -> Sequence[Path]:
    """Files that hold ``text``, each in another way."""
    data = text.encode()
    long = "x" * 5000 + text + "y" * 5000
    (folder / "plain.log").write_bytes(b"\0\xff" + data.upper())
    (folder / "sixteen.bin").write_bytes(b"\xff" + text.encode("utf-16-le"))
    (folder / "packed.gz").write_bytes(gzip.compress(b"..." + data))
    with zipfile.ZipFile(folder / "packed.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("member", data)
    with tarfile.open(folder / "shard.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        inner = tarfile.TarInfo("a.gz")
        content = gzip.compress(data)
        inner.size = len(content)
        tar.addfile(inner, io.BytesIO(content))
    pq.write_table(pa.table({"deep": [[{"name": long}]]}), folder / "table.parquet", compression="zstd")
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.execute("create table params (value text)")
        for count in range(40):  # wherever the pages' borders are
            database.execute("insert into params values (?)", ("z" * (97 * count) + long,))
    import base64

    for shift in range(3):
        film = base64.b64encode(b"\0" * (99 + shift) + data + b"\0" * 99).decode()
        (folder / f"report{shift}.html").write_text(f'<video src="data:video/mp4;base64,{film}">')
    (folder / "key.b64").write_text(base64.b64encode(data).decode()[:-4])
    (folder / "url.txt").write_text("file:///" + text.replace(" ", "%20").replace("Ž", "%C5%BD").replace("'", "%27"))
    (folder / "line.json").write_text(json.dumps({"name": text}))
    return [path for path in folder.iterdir() if path.suffix != ".db-journal"]


@pytest.mark.parametrize("name", ["Zorvana Quibblestone", "Žofia O'Quellington", "Featherstonehaugh"])
def test_a_name_that_is_there_is_found(name: str, tmp_path: Path) -> None:
    needles = Needles(PLANTED)
    for path in _packings(tmp_path, f"Of {name} 3"):
        found = {leak.needle for leak in needles.within(path.read_bytes(), path.name)}
        if path.suffix != ".db":
            assert name in found, f"not found in {path.name}"
    leaks, count = needles.below(tmp_path)
    assert count == 13
    assert any("mlflow.db" in leak.place and leak.needle == name for leak in leaks)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / f"{name.upper()}.txt").touch()
    assert any(leak.place.startswith("the name of") for leak in needles.below(tmp_path / "sub")[0])


def test_what_names_nobody_gives_no_alarm(tmp_path: Path) -> None:
    _packings(tmp_path, "Somebody Else entirely")
    assert Needles(PLANTED).below(tmp_path)[0] == []
