"""Winning quality back after pruning: a short training in this process, taught by labels and by the dense model.

Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531): the student's loss is the mean of the task's own loss
and the distance between its outputs and the teacher's (`bigray.tasks.base.Task.distance`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from bigray import measure
from bigray.data import augment
from bigray.models import _masks
from bigray.recipe import Recipe
from bigray.tasks.base import Row, Task
from bigray.train import optim
from bigray.train.data import tensors

LEARNING_RATE_SHARE = 0.5
"""Peak learning rate of recovery as a share of training's: the student starts close to a good place."""
EARLY = 1 / 3
"""Share of the steps after which somebody may look at the network, and stop."""


def recover(
    task: Task,
    network: nn.Module,
    teacher: nn.Module,
    rows: Sequence[Row],
    recipe: Recipe,
    *,
    epochs: float,
    max_seconds: float | None = None,
    glance: Callable[[], object] | None = None,
) -> int:
    """Train ``network`` in place on ``rows`` and return the number of steps done; ``epochs`` may be a fraction.

    Same rows, recipe and seed give the same weights on one machine. ``glance`` is called once, after the share `EARLY` of
    the steps, and changes nothing; what it raises ends the training.
    """
    size = recipe.train.batch_size
    steps = math.ceil(epochs * len(rows) / size)
    if steps == 0 or not rows:
        return 0
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    settings = recipe.train.model_copy(
        update={"learning_rate": recipe.train.learning_rate * LEARNING_RATE_SHARE, "schedule": "cosine", "warmup": 0.05}
    )
    for name, parameter in network.named_parameters():
        parameter.requires_grad = not name.startswith(tuple(settings.freeze)) if settings.freeze else True
    optimizer = optim.optimizer(network, settings)
    scheduler = optim.schedule(optimizer, settings, steps)
    half = optim.bfloat16(settings)
    network.train()
    teacher.eval()
    begun, order = time.monotonic(), np.array([], dtype=np.int64)
    for step in range(steps):
        if max_seconds is not None and time.monotonic() - begun > max_seconds:
            network.eval()
            return step
        with measure.work():
            if len(order) < min(size, len(rows)):
                order = np.concatenate([order, rng.permutation(len(rows))])
            chosen, order = order[:size], order[size:]
            picked = augment.draw([rows[i] for i in chosen], rng)
            picked = augment.apply(picked, recipe.data.augment, rng, task.contract.field)
            batch = tensors(task.encode(picked))
            inputs = {name: batch[name] for name in task.inputs}
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                with torch.no_grad():
                    taught = task.forward(teacher, inputs)
                outputs = task.forward(network, inputs)
            outputs, taught = ({name: value.float() for name, value in found.items()} for found in (outputs, taught))
            loss = 0.5 * task.loss(outputs, batch) + 0.5 * task.distance(outputs, taught, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
            optimizer.step()
            scheduler.step()
            _masks.advance(network, (step + 1) / steps)
        if glance is not None and step + 1 == math.ceil(EARLY * steps) < steps:
            with torch.random.fork_rng(devices=[]):  # what it draws is not missing here
                glance()
    network.eval()
    return steps
