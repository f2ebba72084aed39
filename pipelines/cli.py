"""``deemo VERB``: the command line. Every verb loads its own libraries, so that help and mistakes answer at once."""

import os
import sys
from typing import Annotated

import typer

from deemo_dist.console import logger, setup_logging
from deemo_dist.errors import DeemoError
from pipelines.verbs import datasets, planning, predicting, preparing, tracking, training, weights

USAGE = 2
INTERRUPTED = 130
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}

app = typer.Typer(
    name="deemo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""From raw clips to a reviewed emotion model that never saw a face.

A **run** is a YAML file (or a name under configs/runs) that says everything: the data, the de-identification policy,
the model, its stages, how it is judged and tracked. Each verb takes it by `-c RUN`; `key.sub=value` after it
overrides one key. Work that is done already is found by its digest and not done twice.

The usual way: `deemo ingest`, `deemo preprocess`, `deemo train`, `deemo evaluate`, or all of them by `deemo run`.
On a cluster: `deemo submit ray|slurm VERB -c RUN`.
""",
)
for verbs in (preparing.app, training.app, predicting.app, planning.app):
    app.add_typer(verbs)
app.add_typer(datasets.dataset_app, name="dataset")
app.add_typer(datasets.keys_app, name="keys")
app.add_typer(tracking.tracking_app, name="tracking")
app.add_typer(weights.weights_app, name="weights")
app.add_typer(planning.plan_app, name="plan")


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    """Options of every verb; they stand before it: `deemo --debug train ...`."""
    if debug:
        os.environ["DEEMO_DEBUG"] = "1"
    setup_logging(verbose=verbose)
    quiet_third_parties()


def quiet_third_parties() -> None:
    """No usage reports, and no progress bars or warnings that are meant for others."""
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)


def main() -> None:
    """Run the command line: an error of the project is one line on standard error and its own exit code."""
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except DeemoError as error:
        _fail(error, str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort) as error:
        _fail(error, "interrupted; run the same command again to go on", INTERRUPTED)
    except OSError as error:
        _fail(error, f"{error.filename or 'a file'}: {error.strerror or error} - is it there, writable, not full?", 1)
    except Exception as error:  # noqa: BLE001 - the last door: what is not ours is said in one line too
        usage = getattr(error, "format_message", None)
        if usage is not None:
            said = usage()
            if not said:  # no arguments at all: the help that was printed says everything
                sys.exit(USAGE)
            _fail(error, f"{said} - see deemo --help", USAGE)
        _fail(error, f"{type(error).__name__}: {_first_line(error)} - run with --debug for the traceback", 1)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:300]


def _fail(error: BaseException, line: str, code: int) -> None:
    if os.environ.get("DEEMO_DEBUG"):
        logger.error("deemo: failed", exc_info=error)
    sys.stderr.write(f"deemo: {line}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
