"""`bigray train`: the dense model only."""

from __future__ import annotations

from typing import Annotated

import typer

from bigray.cli.run import Set


def command(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Path of a YAML file, or the name of a shipped recipe.")
    ],
    set_: Set = None,
) -> None:
    """Train the dense model only.

    Example:  bigray train image_classification.tiny --set train.epochs=5
    """
    from bigray import pipeline
    from bigray.cli import _show
    from bigray.progress import Display
    from bigray.recipe import read

    plan = read(recipe, set_ or ())
    with Display() as display:
        results = pipeline.run(plan, display, until="train")
    _show.outcome(results)
