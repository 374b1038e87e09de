"""What the measures of trained models share: run a recipe of benchmarks/recipes, and turn its results into bars."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from bigray import pipeline
from bigray import recipe as recipes
from bigray.progress import Display
from bigray.recipe import Recipe
from bigray.results import Results

RECIPES = Path(__file__).parent.parent / "recipes"


def run_recipe(name: str, work: Path, overrides: Sequence[str]) -> tuple[Recipe, Results]:
    """Carry out a recipe; what is already in ``work`` is not done again."""
    recipe = recipes.read(RECIPES / f"{name}.yaml", [f"output={work}", *overrides])
    with Display() as display:
        return recipe, pipeline.run(recipe, display)


def unpack(archive: Path, work: Path) -> Path:
    """Unpack a tar archive once and return its folder."""
    folder = work / "data" / archive.name.split(".")[0]
    done = folder / ".complete"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.unpack_archive(archive, folder)
        done.touch()
    return folder


def training_minutes(results: Results) -> float:
    """Return the minutes spent in training epochs, validation included."""
    return float(sum(entry["seconds"] for entry in results.history)) / 60


def compression_bars(name: str, results: Results, *, speedup: float) -> list[Bar]:
    """The chosen model against its budget and against the dense model."""
    verdict, chosen = results.verdict, results.chosen
    if verdict is None or chosen is None or verdict.drop_points is None:
        return [Bar(f"{name}: a compressed model qualified", 0.0, 1.0, False, "")]
    best = f" ({chosen.label})"
    return [
        at_most(f"{name}: drop of the chosen model, unseen rows", verdict.drop_points, results.max_drop, "points"),
        at_least(f"{name}: chosen against dense, batch 1, one thread{best}", chosen.speedups[0], speedup, "x"),
    ]
