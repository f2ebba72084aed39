"""`deemo weights`: what is pinned, and fetching it."""

from typing import Annotated

import typer

weights_app = typer.Typer(no_args_is_help=True, help="The pinned weights: what they are, and fetching them.")


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
