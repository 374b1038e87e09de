"""The last race: candidates that might be the fastest run side by side, in one process, at one time.

Each of them was measured beside the dense model when its turn came, and between two turns a machine that others use
changes by more than good candidates differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bigray import measure
from bigray.artifact import Artifact
from bigray.compress.candidate import usual_batch
from bigray.predictor import Inference, load_session, load_task
from bigray.recipe import Recipe
from bigray.tasks.base import Row

SECONDS = 1.0
"""Of the race, for each model in it."""
DENSE = "dense"


def race(recipe: Recipe, dense: Path, models: Mapping[int, tuple[str, Path]], rows: Sequence[Row]) -> dict[int, float]:
    """Return trial -> speed-up over the dense model at the recipe's first batch size, in wall or processor time,
    whichever is smaller.

    Meant for a fresh process.

    Args:
        recipe: Says batch size and threads.
        dense: Artifact of the dense model.
        models: Trial -> engine and folder of its files.
        rows: Of these some of about median size are taken.
    """
    artifact, settings = Artifact.open(dense), recipe.compress
    task, architecture = load_task(artifact.manifest.task, artifact.task_dir), artifact.manifest.architecture
    entered = {DENSE: (artifact.manifest.engine, artifact.model_dir), **{str(one): models[one] for one in models}}
    sessions = {
        name: Inference(task, load_session(task, architecture, engine, folder, settings.threads))
        for name, (engine, folder) in entered.items()
    }
    batch = usual_batch(task, rows, settings.batch_sizes[0])
    with measure.quiet():
        found = measure.race(sessions, batch, seconds=SECONDS * len(sessions), threads=settings.threads)
    return {one: found.believed(DENSE, str(one)) for one in models}
