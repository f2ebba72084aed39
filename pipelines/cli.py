"""``deemo VERB``: the command line. Every verb loads its own libraries, so that help and mistakes answer at once."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from deemo_dist.console import logger, setup_logging
from deemo_dist.errors import DeemoError

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
weights_app = typer.Typer(no_args_is_help=True, help="The pinned weights: what they are, and fetching them.")
dataset_app = typer.Typer(no_args_is_help=True, help="A dataset: what is in it, and whether it is whole.")
app.add_typer(weights_app, name="weights")
app.add_typer(dataset_app, name="dataset")

RunOption = Annotated[
    str, typer.Option("--config", "-c", metavar="RUN", help="A YAML file, or a name in configs/runs.")
]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Override keys of the run.")]


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


def _load(run: str, overrides: list[str] | None) -> Any:
    from deemo_dist.config import load

    return load(run, overrides or [])


@app.command(epilog="Example: `deemo demo --storage s3`")
def demo(
    storage: Annotated[
        str, typer.Option(help="file, or s3: a real S3 server on this machine, ended at the end.")
    ] = "file",
    run: RunOption = "demo",
    build: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("build/demo"),
    overrides: Overrides = None,
) -> None:
    """Everything on this machine: generated clips, de-identification, training on two ranks, a report."""
    from pipelines.demo import run_demo

    run_demo(run, overrides or [], storage=storage, build=build)


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
    source: Annotated[str, typer.Argument(help="A folder's JSONL, a MERTools CSV or an instruction JSON.")],
    run: RunOption,
    overrides: Overrides = None,
) -> None:
    """Write the manifest of raw clips. Bad rows are named by file and line."""
    from pipelines.ingest import ingest_source

    uri, clips = ingest_source(source, _load(run, overrides))
    typer.echo(f"{clips} clips in {uri}; next: deemo preprocess -c {run} data.manifest={uri}")


@app.command(epilog="Example: `deemo preprocess -c demo data.manifest=s3://bucket/manifests/1f0c.parquet`")
def preprocess(run: RunOption, overrides: Overrides = None) -> None:
    """De-identify the clips of the manifest into shards. A rerun does only what has no receipt yet."""
    from pipelines.preprocess import run_preprocess

    info = run_preprocess(_load(run, overrides))
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
    for each in found.resolve([key for key in keys if "=" not in key], manifest, _load(run, overrides)):
        clips = f" ({each.clips} clips)" if each.kind == "subject" else ""
        typer.echo(f"{each.key}  {each.kind}  {each.name}{clips}")


@app.command(epilog="Example: `deemo audit -c demo --raw s3://bucket/manifests/1f0c.parquet`")
def audit(
    run: RunOption,
    overrides: Overrides = None,
    raw: Annotated[str | None, typer.Option(help="URI of the manifest of raw clips; without: what needs none.")] = None,
    boxes: Annotated[str | None, typer.Option(help="A CSV of true face boxes: clip,frame,x0,y0,x1,y1.")] = None,
    names: Annotated[str | None, typer.Option(help="A file of names to look for in the words, one a line.")] = None,
    clips: Annotated[int | None, typer.Option(min=2, help="Clips at most; default `policy.gates.clips`.")] = None,
) -> None:
    """Attack the dataset as one who knows how it was made: faces, voices, names, whole pictures. Writes a report."""
    from pipelines.audit import run_audit

    result = run_audit(_load(run, overrides), raw=raw, boxes=boxes, names=names, clips=clips)
    for verdict in result.figures.verdicts:
        typer.echo(f"{verdict.outcome}: {verdict.gate}: {verdict.measured} ({verdict.allowed})")
    typer.echo(f"{result.figures.clips} clips of {result.figures.people} people; report: {result.report}")


@app.command(epilog="Example: `deemo train -c demo engine.ranks=1`")
def train(
    run: RunOption,
    overrides: Overrides = None,
    worker: Annotated[bool, typer.Option("--worker", help="This process is one rank (a launcher sets this).")] = False,
) -> None:
    """Train the stages in order. Done stages are skipped; an interrupted one goes on from its last checkpoint."""
    from pipelines.train import run_train, run_worker

    if worker:
        run_worker(_load(run, overrides))
    else:
        run_train(run, overrides or [])


@app.command(epilog="Example: `deemo evaluate -c demo evaluation.split=validation`")
def evaluate(run: RunOption, overrides: Overrides = None) -> None:
    """Score the trained model on held-out subjects and write the report."""
    from pipelines.evaluate import run_evaluate

    result = run_evaluate(_load(run, overrides))
    typer.echo(f"accuracy {result.accuracy:.3f}; report: {result.report}")


@app.command("run", epilog="Example: `deemo run -c demo data.manifest=file:///data/manifests/1f0c.parquet`")
def run_all(run: RunOption, overrides: Overrides = None) -> None:
    """The whole chain: preprocess, train, evaluate."""
    from pipelines.run import run_chain

    result = run_chain(run, overrides or [])
    typer.echo(f"accuracy {result.accuracy:.3f}; report: {result.report}")


@app.command(epilog="Example: `deemo submit slurm train -c demo --nodes 2 --dry-run`")
def submit(
    system: Annotated[str, typer.Argument(help="ray, slurm or local.")],
    verb: Annotated[str, typer.Argument(help="preprocess or train.")],
    run: RunOption,
    overrides: Overrides = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Nodes, in place of `launch.nodes`.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray's job server, such as http://127.0.0.1:8265.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be sent, send nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the job's end; fail if it fails.")] = False,
) -> None:
    """Send preprocessing or training to a cluster: a Ray job or a SLURM batch."""
    from pipelines.submit import run_submit

    run_submit(system, verb, run, overrides or [], nodes=nodes, address=address, dry_run=dry_run, wait=wait)


@weights_app.command("list")
def weights_list() -> None:
    """Each pinned weight: size, licence, who uploaded it, and whether it is here."""
    from deemo_dist.weights import is_cached, registry

    for name, weight in sorted(registry().items()):
        here = "here" if is_cached(name) else "to fetch"
        typer.echo(f"{name:18} {weight.size / 1e6:7.1f} MB  {weight.licence:12} {here:8}  {weight.used_for}")


@weights_app.command("fetch", epilog="Example: `deemo weights fetch centerface pose-full`")
def weights_fetch(names: Annotated[list[str], typer.Argument(help="Names from `deemo weights list`.")]) -> None:
    """Fetch weights into the cache and check their digests."""
    from deemo_dist.weights import fetch

    for name in names:
        typer.echo(f"{name}: {fetch(name)}")


@dataset_app.command("show", epilog="Example: `deemo dataset show -c demo`")
def dataset_show(run: RunOption, overrides: Overrides = None) -> None:
    """What a dataset holds: samples, rejects by reason, splits, policy, digests."""
    from pipelines.datasets import describe

    typer.echo(describe(_load(run, overrides)))


@dataset_app.command("verify", epilog="Example: `deemo dataset verify -c demo --deep`")
def dataset_verify(
    run: RunOption,
    overrides: Overrides = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every shard and check every member's digest.")] = False,
) -> None:
    """Prove that every clip ended in exactly one row of the ledger, and that shards, index and receipts agree."""
    from pipelines.datasets import check

    typer.echo(check(_load(run, overrides), deep=deep))


@dataset_app.command("audit", epilog="Example: `deemo dataset audit -c demo`")
def dataset_audit(run: RunOption, overrides: Overrides = None) -> None:
    """Prove how often each example was fed to the run's training, over restarts and changed numbers of ranks."""
    from pipelines.consumption import audit_run, proved

    typer.echo(proved(audit_run(_load(run, overrides))))


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
            _fail(error, f"{usage()} - see deemo --help", 2)
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
