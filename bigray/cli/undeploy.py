"""`bigray undeploy`: take a model off a running service."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")],
    address: Annotated[str | None, typer.Option(help="Ray cluster that serves it; by default the running one.")] = None,
) -> None:
    """Take a model off a running service; requests that it has are still answered.

    Example:  bigray undeploy reviews
    """
    from bigray import background

    background.join(address)
    from bigray.serve import config, handover

    handover.join(address)
    config.undeploy(name)
    print(f"{name} is not served any more")
