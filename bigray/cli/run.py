"""`bigray run`: data, training, search, verification, artifact and report, from one recipe."""

from __future__ import annotations

from typing import Annotated

import typer

Set = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY.PATH=VALUE", help="Override one value of the recipe; may be repeated."),
]

Force = Annotated[
    bool, typer.Option("--force", help="Hand out the nearest model, marked as not qualified, when none qualifies.")
]


def command(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="Path of a YAML file, or the name of a shipped recipe.")
    ] = None,
    set_: Set = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan, start nothing.")
    ] = False,
    force: Force = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of recipes and leave.")] = False,
) -> None:
    """Train a model, find a faster one, verify it, write a report.

    Example:  bigray run text_classification.tiny --set train.epochs=2
    """
    from bigray import recipe as recipes
    from bigray.cli import _show

    if schema:
        import json

        print(json.dumps(recipes.schema(), indent=2))
        return
    if recipe is None:
        raise typer.BadParameter(f"give a recipe. Shipped: {', '.join(recipes.shipped())}", param_hint="RECIPE")

    from bigray import pipeline
    from bigray.progress import Display

    plan = recipes.read(recipe, [*(set_ or ()), *(["compress.force=true"] if force else [])])
    if dry_run:
        pipeline.check(plan)
        _show.plan(plan)
        return
    with Display() as display:
        results = pipeline.run(plan, display)
    _show.outcome(results)
