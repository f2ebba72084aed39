"""`deemo weights`: what is pinned, and fetching it."""

from typing import Annotated

import typer

weights_app = typer.Typer(no_args_is_help=True, help="The pinned weights: what they are, and fetching them.")


@weights_app.command("list", epilog="Example: `deemo weights list --terms`")
def weights_list(
    terms: Annotated[bool, typer.Option("--terms", help="Licence, what it learned from, and who uploaded it.")] = False,
) -> None:
    """Each pinned weight: size, licence, whether it is here, and what it is for."""
    from deemo_dist.weights import is_cached, registry

    for name, weight in sorted(registry().items()):
        if terms:
            learned = f"learned from {weight.trained_on}" if weight.trained_on else "did not learn from data"
            typer.echo(f"{name}: {weight.licence}; {learned}; uploaded by {weight.uploaded_by}")
            continue
        here = "here" if is_cached(name) else "to fetch"
        typer.echo(f"{name:18} {weight.size / 1e6:7.1f} MB  {weight.licence:12} {here:8}  {weight.used_for}")


@weights_app.command("fetch", epilog="Example: `deemo weights fetch centerface pose-full`")
def weights_fetch(names: Annotated[list[str], typer.Argument(help="Names from `deemo weights list`.")]) -> None:
    """Fetch weights into the cache and check their digests."""
    from deemo_dist.weights import fetch

    for name in names:
        typer.echo(f"{name}: {fetch(name)}")
