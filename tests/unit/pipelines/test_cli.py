"""The command line: help in place of arguments, numbers that cannot be, outputs that cannot be written."""

from pathlib import Path

import pytest

from deemo_dist.errors import ConfigError
from pipelines.cli import main


def said_by(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """The exit code of a command, and what it wrote to standard output and to standard error."""
    monkeypatch.setattr("sys.argv", ["deemo", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    out, error = capsys.readouterr()
    return int(ended.value.code or 0), out, error


@pytest.mark.parametrize("number", ["-1", "0", "nan", "inf", "-inf"])
@pytest.mark.parametrize(
    ("verb", "option"),
    [
        ("plan train", "--memory"),
        ("plan data", "--memory"),
        ("plan data", "--network"),
        ("plan data", "--step-seconds"),
        ("plan data", "--samples"),
        ("doctor", "--seconds"),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_a_run_is_read(
    verb: str, option: str, number: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = said_by(monkeypatch, capsys, *verb.split(), "-c", "no-such-run", option, number)
    assert code == 2 and error.startswith(f"deemo: Invalid value for '{option}': ")


@pytest.mark.parametrize("words", [[], ["dataset"], ["keys"], ["tracking"], ["weights"], ["plan"]])
def test_help_in_place_of_arguments_is_followed_by_no_error(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, error = said_by(monkeypatch, capsys, *words)
    assert code == 2 and "Usage: " in out
    assert error == ""


def test_a_missing_argument_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = said_by(monkeypatch, capsys, "dataset", "show")
    assert code == 2
    assert error == "deemo: Missing option '--config' / '-c'. - see deemo --help\n"


@pytest.mark.parametrize("words", [["plan", "train", "--plot"], ["dataset", "preview", "--out"]])
@pytest.mark.parametrize(("name", "told"), [("folder.png", "it is a folder"), ("file/x.png", "file is a file")])
def test_what_cannot_be_written_is_refused_before_the_work(
    words: list[str],
    name: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    run = ["-c", "demo", f"storage.root=file://{tmp_path}/none"]  # where the work would find nothing
    code, out, error = said_by(monkeypatch, capsys, *words, str(tmp_path / name), *run)
    assert code == ConfigError.exit_code and error.startswith(f"deemo: {words[-1]} {tmp_path}/{name}: ")
    assert told in error and out == ""


def test_another_ending_than_a_picture_s_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["plan", "train", "-c", "demo", f"storage.root=file://{tmp_path}/none", "--plot", f"{tmp_path}/x.txt"]
    code, out, error = said_by(monkeypatch, capsys, *words)
    assert code == ConfigError.exit_code and "'.txt' is no picture" in error
    assert out == ""


def test_a_gpu_that_is_not_known_is_refused_before_the_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["doctor", "-c", "demo", "--gpu", "foo", f"storage.root=file://{tmp_path}/none"]
    code, out, error = said_by(monkeypatch, capsys, *words)
    assert code == ConfigError.exit_code and error.startswith("deemo: no figures for the GPU 'foo' - one of ")
    assert out == "" and not (tmp_path / "none").exists()
