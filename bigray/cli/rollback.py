"""`bigray rollback`: take a canary off, or go back to the earlier version."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")],
    address: Annotated[str | None, typer.Option(help="Ray cluster that serves it; by default the running one.")] = None,
) -> None:
    """Take the version that is being tried off; when there is none, go back to the version before the present one.

    Example:  bigray rollback reviews
    """
    from bigray import background

    background.join(address)
    from bigray.serve import handover

    found = handover.roll_back(name, address=address)
    print(f"{name}: version {found.running} answers")
