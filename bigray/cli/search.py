"""`bigray search`: compression of a model that the same recipe has trained."""

from __future__ import annotations

from typing import Annotated

import typer

from bigray.cli.run import Force, Set


def command(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Path of a YAML file, or the name of a shipped recipe.")
    ],
    set_: Set = None,
    force: Force = False,
) -> None:
    """Search a faster model for one trained before.

    The dense model is found again by its data, model, train and seed settings; it is trained when there is none yet.

    Example:  bigray search text_classification.tiny --set compress.max_drop=2
    """
    from bigray import pipeline
    from bigray.cli import _show
    from bigray.progress import Display
    from bigray.recipe import read

    plan = read(recipe, [*(set_ or ()), "compress.enabled=true", *(["compress.force=true"] if force else [])])
    with Display() as display:
        results = pipeline.run(plan, display, until="search")
    _show.outcome(results)
