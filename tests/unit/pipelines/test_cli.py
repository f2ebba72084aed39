"""The command line: help in place of arguments, numbers that cannot be."""

import pytest

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
