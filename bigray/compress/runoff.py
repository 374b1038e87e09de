"""The last race: candidates that might be the fastest are measured again, in turns, in one process.

Each of them was measured beside the dense model when its turn came, and between two turns a machine that others use
changes by more than good candidates differ. Here each has a short turn beside the dense model, several times over. Not
all of them in one round: each would find the caches full of the others' weights, and all would seem alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean, median

from bigray import measure
from bigray.artifact import Artifact
from bigray.compress.candidate import same_rows
from bigray.compress.plan import Plan, adapted, runtime
from bigray.predictor import Inference, load_session, load_task
from bigray.recipe import Recipe
from bigray.tasks.base import Row

TURNS, SECONDS = 5, 0.4
"""Of each candidate, and how long one takes at least."""


def turns(
    recipe: Recipe, dense: Path, models: Mapping[int, tuple[Plan, Path]], rows: Sequence[Row]
) -> dict[int, float]:
    """Return trial -> speed-up over the dense model, in wall or processor time, whichever is smaller; over the recipe's
    batch sizes the geometric mean.

    Meant for a fresh process.

    Args:
        recipe: Says batch sizes and threads.
        dense: Artifact of the dense model.
        models: Trial -> its plan and the folder of its files.
        rows: Of these some of about median size are taken.
    """
    artifact, settings = Artifact.open(dense), recipe.compress
    task, architecture = load_task(artifact.manifest.task, artifact.task_dir), artifact.manifest.architecture

    def loaded(plan: Plan, folder: Path) -> Inference:
        own = adapted(plan, task)
        return Inference(own, load_session(own, architecture, plan.engine, folder, settings.threads))

    beside = {one: runtime(plan.engine).reference for one, (plan, _) in models.items()}
    references = {name: loaded(Plan(engine=name), artifact.model_dir) for name in set(beside.values())}
    sessions = {one: loaded(plan, folder) for one, (plan, folder) in models.items()}
    batches = {
        one: [same_rows(task, session.task, rows, size) for size in settings.batch_sizes]
        for one, session in sessions.items()
    }
    found: dict[int, list[float]] = {one: [] for one in models}
    with measure.quiet():
        for _ in range(TURNS):
            for one, session in sessions.items():
                pair = {"dense": references[beside[one]], "candidate": session}
                races = [
                    measure.race(pair, batch, own={"candidate": other}, seconds=SECONDS, threads=settings.threads)
                    for batch, other in batches[one]
                ]
                found[one].append(geometric_mean(race.believed("dense", "candidate") for race in races))
    return {one: median(speedups) for one, speedups in found.items()}
