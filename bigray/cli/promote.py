"""`bigray promote`: let a canary take over."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")],
    address: Annotated[str | None, typer.Option(help="Ray cluster that serves it; by default the running one.")] = None,
) -> None:
    """Let the version that is being tried answer all requests now.

    Example:  bigray promote reviews
    """
    from bigray import background

    background.join(address)
    from bigray.serve import handover

    found = handover.promote(name, address=address)
    print(f"{name}: version {found.running} answers")
