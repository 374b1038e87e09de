"""With what candidates of a search recover: the recipe's workers where the cluster has room for them, else where they are.

A process that was lent a GPU trains there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from bigray.compress.search import at_once, cores, gpus
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
    threads = max(1, min(math.ceil(train.cpus_per_worker), cores() // beside))
    return Way(partial(alone, threads=threads), float(threads), own)


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
    task: Task,
    network: nn.Module,
    teacher: nn.Module,
    rows: Sequence[Row],
    recipe: Recipe,
    glance: Look,
    *,
    threads: int = 1,
) -> None:
    """Train ``network`` in place, in this process, with so many threads: those of one of the recipe's workers, if they are free."""
    epochs, before = recipe.compress.recover_epochs, torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with recover.lent_device(network, teacher) as part:
            recover.recover(task, network, teacher, rows, recipe, epochs=epochs, glance=glance, part=part)
    finally:
        torch.set_num_threads(before)
