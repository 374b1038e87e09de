"""With what candidates of a search recover: the recipe's workers where the cluster has room for them, else where they are.

A process that was lent a GPU trains there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from bigray.compress.search import at_once, gpus
from bigray.recipe import Recipe
from bigray.tasks.base import Row, Task
from bigray.train import recover, recover_group

Look = Callable[[], object]


@dataclass(frozen=True)
class Way:
    """How candidates recover, and what each holds at most while it is worked on."""

    recover: Callable[[Task, nn.Module, nn.Module, Sequence[Row], Recipe, Look], object]
    cores: float
    gpus: int


def choose(recipe: Recipe) -> Way:
    """Decide, before a search, by what the cluster has left."""
    train, own, beside = recipe.train, gpus(recipe.compress.engines), at_once(recipe)
    if (train.workers > 1 or train.gpu) and recover_group.room(recipe, beside, beside * own):
        return Way(together, 1 + train.workers * train.cpus_per_worker, own + train.workers * train.gpu)
    return Way(alone, 1.0, own)


def together(
    task: Task, network: nn.Module, teacher: nn.Module, rows: Sequence[Row], recipe: Recipe, glance: Look
) -> None:
    """Train ``network`` in place on the recipe's workers.

    Raises:
        TrainingFailed: Workers were lost too often, or failed.
    """
    epochs = recipe.compress.recover_epochs
    recover_group.recover_together(task, network, teacher, rows, recipe, epochs=epochs, glance=glance)


def alone(
    task: Task, network: nn.Module, teacher: nn.Module, rows: Sequence[Row], recipe: Recipe, glance: Look
) -> None:
    """Train ``network`` in place, in this process."""
    epochs = recipe.compress.recover_epochs
    with recover.lent_device(network, teacher) as part:
        recover.recover(task, network, teacher, rows, recipe, epochs=epochs, glance=glance, part=part)
