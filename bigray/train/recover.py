"""Winning quality back after pruning: a short training, taught by labels and by the dense model.

Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531): the student's loss is the mean of the task's own loss
and the distance between its outputs and the teacher's (`bigray.tasks.base.Task.distance`). Dropout layers rest: a
smaller network needs less of it (Han et al. 2015, arXiv 1506.02626, section 3.2), and the teacher's answers take its place.
With ``compress.augment`` the teacher is asked about changed rows, and labels do not count: more to learn from than there are
rows (Jiao et al. 2020, TinyBERT, arXiv 1909.10351, section 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

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
from bigray.train.loop import Forward

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
LEARNING_RATE_SHARE = 0.5
"""Peak learning rate of recovery as a share of training's: the student starts close to a good place."""
AS_LOADED = 1e-5
"""The same where nothing was trained, as ``train.learning_rate`` says nothing of a checkpoint then."""
EARLY = 1 / 3
"""Share of the steps after which somebody may look at the network, and stop."""


def learning_rate(recipe: Recipe) -> float:
    """Return the peak learning rate of recovery."""
    own = AS_LOADED if recipe.train.epochs == 0 else recipe.train.learning_rate * LEARNING_RATE_SHARE
    return recipe.compress.recover_learning_rate or own


@dataclass(frozen=True)
class Part:
    """What one process of several does of every step; by default, all of it."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"
    student: nn.Module | None = None
    """Runs the network on inputs and averages gradients over the processes; None for a single one."""
    over: Callable[[int], bool] = lambda step: False
    """Whether to end before this step; the same in all processes."""
    polite: bool = True
    """Pause while somebody measures on this machine: one process on each has to, the others wait for its gradients."""


ALONE = Part()


@contextmanager
def lent_device(*networks: nn.Module) -> Iterator[Part]:
    """Put networks on the GPU that this process was lent, and back afterwards; gives the part that trains there.

    Without a GPU they stay where they are.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        for network in networks:
            network.to(device)
        yield Part(device=device)
    finally:
        for network in networks:
            network.cpu()


def recover(
    task: Task,
    network: nn.Module,
    teacher: nn.Module,
    rows: Sequence[Row],
    recipe: Recipe,
    *,
    epochs: float,
    glance: Callable[[], object] | None = None,
    part: Part = ALONE,
) -> int:
    """Train ``network`` in place on ``rows`` and return the number of steps done; ``epochs`` may be a fraction.

    Same rows, recipe and seed give the same weights on one machine. ``glance`` is called once, after the share `EARLY` of
    the steps, and changes nothing; what it raises ends the training.
    """
    size = max(recipe.train.batch_size, part.world)
    steps = math.ceil(epochs * len(rows) / size)
    if steps == 0 or not rows:
        return 0
    torch.manual_seed(recipe.seed)
    shuffle, draws = np.random.default_rng(recipe.seed), np.random.default_rng([recipe.seed, part.rank])
    settings = recipe.train.model_copy(
        update={"learning_rate": learning_rate(recipe), "schedule": "cosine", "warmup": 0.05}
    )
    further = recipe.compress.augment
    for name, parameter in network.named_parameters():
        parameter.requires_grad = not name.startswith(tuple(settings.freeze)) if settings.freeze else True
    optimizer = optim.optimizer(network, settings)
    scheduler = optim.schedule(optimizer, settings, steps)
    student = part.student or Forward(task, network)
    half = optim.bfloat16(settings)
    network.train()
    for layer in network.modules():
        if isinstance(layer, DROPOUT):
            layer.eval()
    teacher.eval()
    order = np.array([], dtype=np.int64)
    for step in range(steps):
        if part.over(step):
            steps = step
            break
        with measure.work() if part.polite else nullcontext():
            if len(order) < min(size, len(rows)):
                order = np.concatenate([order, shuffle.permutation(len(rows))])
            chosen, order = order[:size], order[size:]
            picked = augment.draw([rows[i] for i in chosen[part.rank :: part.world]], draws)
            picked = augment.apply(picked, [*recipe.data.augment, *further], draws, task.contract.field)
            batch = {name: value.to(part.device) for name, value in tensors(task.encode(picked)).items()}
            inputs = {name: batch[name] for name in task.inputs}
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(torch.device(part.device).type, torch.bfloat16, enabled=half):
                with torch.no_grad():
                    taught = task.forward(teacher, inputs)
                outputs = student(inputs)
            outputs, taught = ({name: value.float() for name, value in found.items()} for found in (outputs, taught))
            loss = task.distance(outputs, taught, batch)
            if not further:
                loss = 0.5 * task.loss(outputs, batch) + 0.5 * loss
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
