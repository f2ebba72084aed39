"""What a trained model says: `predict`."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.notice import NOTICE
from pipelines.verbs.common import RunOption, load_run

if TYPE_CHECKING:
    from pipelines.predict import Said

app = typer.Typer()
READ_THIS = "\n\n".join(("**Before you use it** (docs/USE.md):", *NOTICE))


HELP = f"""What the run's model recognises in samples of its dataset, or in a raw clip, and how it explains it.

`key.sub=value` among the keys overrides a key of the run.

{READ_THIS}
"""


@app.command(help=HELP, epilog="Example: `deemo predict 5f1c09aa -c demo`, `deemo predict --clip talk.mp4 -c demo`")
def predict(
    run: RunOption,
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="Samples of the run's dataset.")] = None,
    clip: Annotated[list[str] | None, typer.Option(help="A raw clip (path or URI), de-identified in memory.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
) -> None:
    """Print a line, or a JSON object, for each."""
    for said in _predictions(keys or [], clip or [], run):
        typer.echo(_json(said) if as_json else _lines(said))


def _predictions(keys: list[str], clips: list[str], run: str) -> "Iterator[Said]":
    from pipelines import predict as predicting

    config = load_run(run, [key for key in keys if "=" in key])
    wanted = [key for key in keys if "=" not in key]
    if not wanted and not clips:
        raise typer.BadParameter("name samples by their keys, or a raw clip by --clip")
    yield from predicting.predict_samples(wanted, config) if wanted else ()
    yield from predicting.predict_clips(clips, config) if clips else ()


def _json(said: "Said") -> str:
    return json.dumps({**asdict(said), "answer": said.answer}, allow_nan=False)


def _lines(said: "Said") -> str:
    by_weight = sorted(said.probabilities.items(), key=lambda item: -item[1])
    weights = ", ".join(f"{answer} {share:.2f}" for answer, share in by_weight)
    text = f"\n  {said.explanation}" if said.explanation else ""
    return f"{said.key[:12]}  {weights}  (from {', '.join(said.shown)}){text}"
