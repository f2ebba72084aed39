"""Errors, digests, the console, and what importing the package may load."""

import json
import logging
import pickle
import subprocess
import sys

import pytest

from deemo_dist import console
from deemo_dist.digests import canonical_json, digest_of, digest_of_rows
from deemo_dist.errors import ConfigError, DeemoError, DeidError, Interrupted, MediaError


def test_an_error_says_what_and_what_to_do() -> None:
    assert str(ConfigError("a.yaml: no key 'x'", hint="did you mean 'y'?")) == "a.yaml: no key 'x' - did you mean 'y'?"
    assert (DeemoError.exit_code, ConfigError.exit_code, Interrupted.exit_code) == (1, 2, 75)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("a", hint="b"),
        MediaError("a", reason="empty", hint="b"),
        DeidError("a", stage="faces", reason="uncertain"),
    ],
)
def test_an_error_crosses_processes_whole(error: DeemoError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


def test_a_digest_ignores_the_order_of_keys_but_not_of_items() -> None:
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": (1, 2), "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])
    assert digest_of_rows([1, 2]) != digest_of_rows([12])


def test_a_digest_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"x": float("nan")})
    with pytest.raises(TypeError):
        canonical_json({"x": object()})


def test_json_lines_carry_the_bound_context(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEEMO_LOG", "json")
    console.setup_logging()
    console.bind(run="r", rank=1)
    console.logger.info("step %d", 3)
    console.bind(run=None, rank=None)
    monkeypatch.delenv("DEEMO_LOG")
    console.setup_logging()
    row = json.loads(capsys.readouterr().err)
    assert (row["run"], row["rank"], row["message"], row["level"]) == ("r", 1, "step 3", "info")


def test_progress_without_a_terminal_ends_with_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(console.logger, "propagate", True)
    with caplog.at_level(logging.INFO, "deemo_dist"), console.progress("clips", 2, unit="clips") as bar:
        bar.advance()
        bar.advance()
    assert "clips: 2/2 clips" in caplog.text


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = (
        "import sys, deemo_dist, deemo_dist.config, deemo_dist.storage, deemo_dist.dataset, deemo_dist.deid, "
        "deemo_dist.training, deemo_dist.tracking, deemo_dist.launch, deemo_dist.execution, pipelines.cli\n"
        "print([m for m in ('torch', 'ray', 'deepspeed', 'mlflow', 'flash_attn', 'transformers') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_without_hides_a_module_for_a_while() -> None:
    from deemo_dist.imports import without

    with without("wave", "json"), pytest.raises(ModuleNotFoundError):
        __import__("wave")
    assert __import__("wave").__name__ == "wave"
    with without("json"):
        assert __import__("json") is json
