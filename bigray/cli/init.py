"""`bigray init`: a commented starter recipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    task: Annotated[str, typer.Argument(metavar="TASK", help="For example text_classification.")],
    data: Annotated[
        str | None, typer.Option("--data", metavar="PATH", help="Your training rows: file, folder or hub:owner/name.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write; - for stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented starter recipe for a task.

    Example:  bigray init text_classification --data reviews.csv -o recipe.yaml
    """
    from bigray.recipes import starter, write_new

    target = output or Path("recipe.yaml")
    text = starter(task, data)
    if str(target) == "-":
        sys.stdout.write(text)
        return
    write_new(target, text, force=force)
    print(f"wrote {target}; next: bigray run {target} --dry-run")
