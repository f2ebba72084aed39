"""`deemo dataset` and `deemo keys`: what is in a dataset, whether it is whole, and the rest of its life."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.verbs.common import Overrides, RunOption, load_run

dataset_app = typer.Typer(
    no_args_is_help=True, help="A dataset: what is in it, whether it is whole, what becomes of it."
)
keys_app = typer.Typer(no_args_is_help=True, help="The root key that names are made by.")
BYTE_ORDER_MARK = "\ufeff"
IntoOption = Annotated[str, typer.Option("--into", metavar="NAME/VERSION", help="The version to make.")]


@dataset_app.command("ls", epilog="Example: `deemo dataset ls -c demo`")
def dataset_ls(run: RunOption, overrides: Overrides = None) -> None:
    """All versions under the run's prefix: state, counts, bytes, policy, key, what they were made of."""
    from pipelines.lifecycle import listing

    typer.echo(listing(load_run(run, overrides)))


@dataset_app.command("show", epilog="Example: `deemo dataset show -c demo`")
def dataset_show(run: RunOption, overrides: Overrides = None) -> None:
    """What a dataset holds: samples, rejects by reason, splits, policy, digests."""
    from pipelines.datasets import describe

    typer.echo(describe(load_run(run, overrides)))


@dataset_app.command("verify", epilog="Example: `deemo dataset verify -c demo --deep`")
def dataset_verify(
    run: RunOption,
    overrides: Overrides = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every shard and check every member's digest.")] = False,
) -> None:
    """Prove that every clip ended in exactly one row of the ledger, and that shards, index and receipts agree."""
    from pipelines.datasets import check

    typer.echo(check(load_run(run, overrides), deep=deep))


@dataset_app.command("audit", epilog="Example: `deemo dataset audit -c demo`")
def dataset_audit(run: RunOption, overrides: Overrides = None) -> None:
    """Prove how often each example was fed to the run's training, over restarts and changed numbers of ranks."""
    from pipelines.consumption import audit_run, proved

    typer.echo(proved(audit_run(load_run(run, overrides))))


@dataset_app.command("merge", epilog="Example: `deemo dataset merge demo/v1 more/v1 --into both/v1 -c demo`")
def dataset_merge(
    sources: Annotated[list[str], typer.Argument(metavar="NAME/VERSION...", help="Two versions or more.")],
    into: IntoOption,
    run: RunOption,
    first: Annotated[bool, typer.Option("--first", help="Take a clip that several hold from the first.")] = False,
) -> None:
    """Make one version of several of one policy and key, each clip once. `key.sub=value` overrides a key."""
    from pipelines.lifecycle import run_merge, told

    config = load_run(run, [each for each in sources if "=" in each])
    typer.echo(told(run_merge(config, [each for each in sources if "=" not in each], into, first_wins=first)))


@dataset_app.command(
    "filter", epilog="Example: `deemo dataset filter \"fps >= 24 and source == 'x'\" --into demo/v2 -c demo`"
)
def dataset_filter(
    condition: Annotated[
        str, typer.Argument(help="On frames, fps, seconds, source, split, subgroup.NAME and the like.")
    ],
    into: IntoOption,
    run: RunOption,
    overrides: Overrides = None,
) -> None:
    """Make a version of the samples that fulfil a condition. The others' clips stay in the ledger, as filtered out."""
    from pipelines.lifecycle import run_filter, told

    typer.echo(told(run_filter(load_run(run, overrides), condition, into)))


@dataset_app.command("preview", epilog="Example: `deemo dataset preview -c demo --clips 6 --split test`")
def dataset_preview(
    run: RunOption,
    overrides: Overrides = None,
    clips: Annotated[int, typer.Option(min=1, max=200, help="Samples at most.")] = 12,
    split: Annotated[str | None, typer.Option(help="Of this split alone.")] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; an erasure finds it in the cache only.")] = None,
) -> None:
    """Write a page to look at: masked frames, sound, words and body cues of some samples. One file, no network."""
    from pipelines.preview_page import run_preview

    typer.echo(run_preview(load_run(run, overrides), clips=clips, split=split, out=out))


@dataset_app.command(
    "erase", epilog="Example: `deemo dataset erase -c demo --manifest s3://bucket/manifests/1f0c.parquet`"
)
def dataset_erase(
    run: RunOption,
    overrides: Overrides = None,
    subject: Annotated[
        str | None, typer.Option(help="The person as the manifest names them. It stays in your shell's history.")
    ] = None,
    subject_file: Annotated[
        Path | None, typer.Option(help="A file whose first line names the person; - is standard input.")
    ] = None,
    subject_key: Annotated[str | None, typer.Option(help="The person's key, as the index has it.")] = None,
    manifest: Annotated[str | None, typer.Option(help="URI of the manifest, besides those in the store.")] = None,
    without_manifest: Annotated[
        bool, typer.Option("--without-manifest", help="Go on where rejected clips are in none: they stay as they are.")
    ] = False,
    drop_damaged: Annotated[
        bool, typer.Option("--drop-damaged", help="Reject others' samples that cannot be read, instead of stopping.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before it is done.")] = False,
) -> None:
    """Honour a withdrawal of consent: remove a person from all that is kept, and prove it. It cannot be undone.

    Stop jobs on the datasets first. Without `--subject...` it asks for the name and does not show it. Needs the root
    key. Interrupted, the same command finishes it, or the next erasure of anybody. What learned from the person is
    listed to be retrained or retired.
    """
    from pipelines.erasure.erase import run_erase
    from pipelines.erasure.receipt import told

    config = load_run(run, overrides)
    if subject_file is not None:
        subject = first_line(subject_file)
    elif subject is None and subject_key is None:
        subject = typer.prompt("The person, as the manifest names them", hide_input=True)
    uri, receipt = run_erase(
        config,
        subject=subject,
        subject_key=subject_key,
        manifest=manifest,
        without_manifest=without_manifest,
        drop_damaged=drop_damaged,
        agree=lambda text: yes or agreed(text),
    )
    typer.echo(told(uri, receipt))


def first_line(path: Path) -> str:
    """The first line of a file or of standard input (``-``), without its end and without a byte order mark, which some
    editors write and nobody sees. Raises ``ConfigError`` for none."""
    import sys

    from deemo_dist.errors import ConfigError

    text = sys.stdin.readline() if str(path) == "-" else path.read_text(encoding="utf-8")
    line = next(iter(text.removeprefix(BYTE_ORDER_MARK).splitlines()), "").strip()
    if not line:
        raise ConfigError("the file names nobody", hint="write the subject as the manifest does, on its first line")
    return line


def agreed(text: str) -> bool:
    """Show what will be done and ask."""
    typer.echo(text)
    try:
        return typer.confirm("It cannot be undone. Go on?")
    except typer.Abort:  # no terminal to ask
        return False


@dataset_app.command("gc", epilog="Example: `deemo dataset gc -c demo --older-than 7d --delete`")
def dataset_gc(
    run: RunOption,
    overrides: Overrides = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; without, only say what would be.")] = False,
    older_than: Annotated[str, typer.Option(help="Leave alone what is younger: 12h, 7d; 1h at least.")] = "1d",
    cache: Annotated[
        bool,
        typer.Option("--cache", help="Look into this machine's cache, for blocks and pages, not under the prefix."),
    ] = False,
) -> None:
    """Remove what no commit refers to: shards without a receipt, overlays, lengths and plans of no dataset, checkpoints
    that were never committed, what is left of tombstoned versions. Says first, removes by `--delete`."""
    from pipelines.lifecycle import run_gc

    typer.echo(run_gc(load_run(run, overrides), delete=delete, older_than=older_than, cache=cache))


@keys_app.command(
    "rotate", epilog="Example: `deemo keys rotate --into demo/v2 --new-variable DEEMO_NEW_ROOT_KEY -c demo`"
)
def keys_rotate(
    into: IntoOption,
    run: RunOption,
    overrides: Overrides = None,
    new_variable: Annotated[
        str | None, typer.Option(metavar="NAME", help="The environment variable that holds the new root key.")
    ] = None,
    new_file: Annotated[str | None, typer.Option(metavar="PATH", help="The file that holds it.")] = None,
    manifest: Annotated[str | None, typer.Option(help="Its manifest's URI; default: all in the store.")] = None,
    voices: Annotated[
        str | None, typer.Option(help="keep or drop sound in disguised voices: the old key is in it.")
    ] = None,
    tombstone: Annotated[bool, typer.Option("--tombstone", help="Refuse the old version from then on.")] = False,
) -> None:
    """Make a version of the run's dataset under a new root key: new names of samples and subjects, new attestations.

    Needs the old key (`keys` of the run), the new one and the manifest. Disguised voices cannot be made anew without
    the raw clips: after a leak of the key preprocess again, or drop them. `deemo dataset gc` removes tombstoned ones.
    """
    from deemo_dist.config import KeysConfig
    from deemo_dist.errors import ConfigError
    from pipelines.lifecycle import told
    from pipelines.rotate import run_rotate

    if (new_variable is None) == (new_file is None):
        raise ConfigError("say where the new root key is", hint="--new-variable NAME or --new-file PATH")
    if voices not in (None, "keep", "drop"):
        raise ConfigError(f"--voices {voices} is not known", hint="keep or drop")
    new = KeysConfig(source="file", path=new_file) if new_file else KeysConfig(variable=new_variable or "")
    config = load_run(run, overrides)
    info = run_rotate(config, into, new, manifest=manifest, voices=voices, tombstone=tombstone)  # type: ignore[arg-type]
    typer.echo(told(info))
