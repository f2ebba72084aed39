"""What ``deemo audit`` says of the policy that a data set was made by, and reads of files that others wrote."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deemo_dist.config import RunConfig
from deemo_dist.dataset import write_manifest
from deemo_dist.errors import DatasetError
from deemo_dist.storage import open_store
from pipelines.audit import AuditResult, run_audit
from pipelines.cli import app
from tests.made import clips_of, make

BOXES = "\ufeffclip,frame,x0,y0,x1,y1\r\n0.mp4,0,8,8,24,24\r\n"


def audited(config: RunConfig) -> AuditResult:
    return run_audit(config, raw=None, boxes=None, names=None, clips=2)


def test_the_policy_is_the_data_sets_and_another_of_the_run_is_named_beside_it(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = make(config, clips_of(3))
    assert info is not None
    same = audited(config)
    assert (same.figures.policy, same.figures.judged_by, same.figures.other_policy) == (info.header.policy, "", "")
    assert same.figures.policy_digest == info.header.policy_digest
    gates = replace(config.policy.gates, face_match=0.0)
    other = replace(config, policy=replace(config.policy, name="harsh", gates=gates))
    found = audited(other)
    assert found.figures.policy == info.header.policy
    assert found.figures.judged_by.startswith("harsh (")
    assert [verdict.outcome for verdict in found.figures.verdicts] == ["not estimable"]
    monkeypatch.setattr("pipelines.verbs.preparing.load_run", lambda *_: other)
    said = CliRunner().invoke(app, ["audit", "-c", "demo", "--clips", "2"]).output
    assert f"note: the data set was made by the policy {info.header.policy}" in said
    assert "not by this run's, harsh (" in said


def test_files_as_windows_writes_them_are_read(config: RunConfig, tmp_path: Path) -> None:
    clips = [replace(clip, uri=f"file:///raw/{number}.mp4") for number, clip in enumerate(clips_of(3))]
    make(config, clips)
    key, _ = write_manifest(clips, open_store(config.storage))
    raw, boxes, names = open_store(config.storage).uri(key), tmp_path / "boxes.csv", tmp_path / "names.txt"
    boxes.write_bytes(BOXES.encode())
    names.write_bytes(b"\xef\xbb\xbfwords\r\n")
    with pytest.raises(DatasetError, match="3 of 3 raw clips cannot be read any more"):  # past both files
        run_audit(config, raw=raw, boxes=str(boxes), names=str(names), clips=3)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_files_that_are_no_utf_8_are_named_with_what_to_do(config: RunConfig, tmp_path: Path, encoding: str) -> None:
    make(config, clips_of(3))
    file = tmp_path / "Jürgen.txt"
    file.write_bytes("Jürgen Müller\n".encode(encoding))
    for option in ("names", "boxes"):
        given = {"boxes": None, "names": None} | {option: str(file)}
        with pytest.raises(DatasetError, match=rf"{option} file \(--{option}\) is no UTF-8.*again") as caught:
            run_audit(config, raw=None, clips=2, **given)
        assert "Jürgen" not in str(caught.value)
