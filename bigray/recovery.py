"""With what a candidate of a search recovers: the recipe's workers where the cluster has room for them, else where it is.

A process that was lent a GPU trains there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from bigray.compress.search import at_once, gpus
from bigray.recipe import Recipe
from bigray.tasks.base import Row, Task
from bigray.train import recover as alone
from bigray.train import recover_group as group


def recover(
    task: Task,
    network: nn.Module,
    teacher: nn.Module,
    rows: Sequence[Row],
    recipe: Recipe,
    glance: Callable[[], None],
) -> None:
    """Train ``network`` in place; see `bigray.train.recover`.

    Raises:
        TrainingFailed: Workers were lost too often, or failed.
    """
    epochs = recipe.compress.recover_epochs
    if _several(recipe):
        group.recover_together(task, network, teacher, rows, recipe, epochs=epochs, glance=glance)
        return
    with alone.lent_device(network, teacher) as part:
        alone.recover(task, network, teacher, rows, recipe, epochs=epochs, glance=glance, part=part)


def held(recipe: Recipe) -> tuple[float, int]:
    """Return the cores and GPUs that a candidate takes at most, those of its recovery included."""
    train, own = recipe.train, gpus(recipe.compress.engines)
    if not _several(recipe):
        return 1.0, own
    return 1 + train.workers * train.cpus_per_worker, own + train.workers * train.gpu


def _several(recipe: Recipe) -> bool:
    beside = at_once(recipe)
    wanted = recipe.train.workers > 1 or recipe.train.gpu
    return wanted and group.room(recipe, beside, beside * gpus(recipe.compress.engines))
