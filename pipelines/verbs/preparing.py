"""From raw clips to a dataset: `samples`, `ingest`, `preprocess`, `resolve`, `audit`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.verbs.common import Overrides, RunOption, load_run

app = typer.Typer()


@app.command(epilog="Example: `deemo samples build/clips --subjects 10 --clips 4 --real`")
def samples(
    dest: Annotated[Path, typer.Argument(help="A folder to make.")],
    subjects: Annotated[int, typer.Option(min=1, help="Generated subjects.")] = 75,
    clips: Annotated[int, typer.Option(min=1, help="Clips of each subject.")] = 8,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 7,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    real: Annotated[bool, typer.Option("--real", help="Also real footage, dubbed (a synthetic pairing).")] = False,
) -> None:
    """Make sample clips with faces, voices and names, and their `manifest.jsonl`."""
    from pipelines.ingest import make_samples

    made = make_samples(dest, subjects=subjects, clips=clips, seed=seed, workers=workers, real=real)
    typer.echo(f"{len(made)} clips in {dest}; next: deemo ingest {dest / 'manifest.jsonl'} -c RUN")


@app.command(epilog="Example: `deemo ingest clips/manifest.jsonl -c demo`")
def ingest(
    source: Annotated[
        str,
        typer.Argument(
            help="A JSONL file (path or URI), a folder with manifest.jsonl in it, or one in MERTools' layout."
        ),
    ],
    run: RunOption,
    overrides: Overrides = None,
) -> None:
    """Write the manifest of raw clips. Bad rows are named by file and line."""
    from pipelines.ingest import ingest_source

    uri, clips = ingest_source(source, load_run(run, overrides))
    typer.echo(f"{clips} clips in {uri}; next: deemo preprocess -c {run} data.manifest={uri}")


@app.command(epilog="Example: `deemo preprocess -c demo data.manifest=s3://bucket/manifests/1f0c.parquet`")
def preprocess(run: RunOption, overrides: Overrides = None) -> None:
    """De-identify the clips of the manifest into shards. A rerun does only what has no receipt yet."""
    from pipelines.preprocess import run_preprocess

    info = run_preprocess(load_run(run, overrides))
    if info is None:
        typer.echo("this task's units are done; the dataset is committed by `deemo preprocess` without a task")
    else:
        typer.echo(
            f"dataset {info.name}/{info.version}: {info.samples} samples, {info.rejected} rejected, "
            f"digest {info.dataset_digest}"
        )


@app.command(epilog="Example: `deemo resolve 5f1c09aa -c demo --manifest s3://bucket/manifests/1f0c.parquet`")
def resolve(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Sample or subject keys, or 8 digits of them.")],
    run: RunOption,
    manifest: Annotated[str | None, typer.Option(help="The manifest's URI, in place of `data.manifest`.")] = None,
) -> None:
    """Which raw clip or person a key stands for. Needs the manifest and the root key. Personal data: not for a log.

    `key.sub=value` among the keys overrides a key of the run.
    """
    from pipelines import resolve as found

    overrides = [key for key in keys if "=" in key]
    for each in found.resolve([key for key in keys if "=" not in key], manifest, load_run(run, overrides)):
        clips = f" ({each.clips} clips)" if each.kind == "subject" else ""
        typer.echo(f"{each.key}  {each.kind}  {each.name}{clips}")


@app.command(epilog="Example: `deemo audit -c demo --raw s3://bucket/manifests/1f0c.parquet`")
def audit(
    run: RunOption,
    overrides: Overrides = None,
    raw: Annotated[str | None, typer.Option(help="URI of the manifest of raw clips; without: what needs none.")] = None,
    boxes: Annotated[
        str | None,
        typer.Option(help="A CSV of true face boxes: clip,frame,x0,y0,x1,y1 (the clip's own frames, from 0)."),
    ] = None,
    names: Annotated[str | None, typer.Option(help="A file of names to look for in the words, one a line.")] = None,
    clips: Annotated[int | None, typer.Option(min=2, help="Clips at most; default `policy.gates.clips`.")] = None,
) -> None:
    """Attack the dataset as one who knows how it was made: faces, voices, names, whole pictures. Writes a report."""
    from pipelines.audit import run_audit

    result = run_audit(load_run(run, overrides), raw=raw, boxes=boxes, names=names, clips=clips)
    if result.figures.other_policy:
        typer.echo(f"note: {result.figures.other_policy}")
    for verdict in result.figures.verdicts:
        typer.echo(f"{verdict.outcome}: {verdict.gate}: {verdict.measured} ({verdict.allowed})")
    for voices in result.figures.speakers:
        typer.echo(voices.summary)
    typer.echo(f"{result.figures.clips} clips of {result.figures.people} people; report: {result.report}")
