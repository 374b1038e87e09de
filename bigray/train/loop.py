"""The training loop of one worker. Ray is used for the shard, the report and the checkpoint, and nothing else.

Every worker runs `work`. Rank 0 keeps the history, writes checkpoints and tells how far it is (`Progress`). After a
lost worker the whole group starts again from the last checkpoint: epochs already reported are not trained again.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch
from torch import nn

from bigray.artifact import write_atomically
from bigray.engines.base import Arrays, Session
from bigray.models.base import Architecture, build
from bigray.predictor import Predictor, load_task
from bigray.recipe import Recipe
from bigray.tasks.base import Row, Task
from bigray.train import checkpoint, optim
from bigray.train.data import Tensors, tensors, train_batches, validation_rows

PROGRESS_FILE = "progress.json"


class Forward(nn.Module):
    """Runs the task's forward as one module, so that data parallelism sees every call."""

    def __init__(self, task: Task, network: nn.Module) -> None:
        super().__init__()
        self.task, self.network = task, network

    def forward(self, batch: Tensors) -> dict[str, torch.Tensor]:
        """Return the task's outputs."""
        return self.task.forward(self.network, batch)


class InTraining(Session):
    """The network as it stands, on its device, answering through the same predictor as everywhere."""

    def __init__(self, task: Task, network: nn.Module) -> None:
        self._task, self._network = task, network
        self._device = next(network.parameters()).device

    def run(self, inputs: Mapping[str, np.ndarray], part: str = "") -> Arrays:
        """Run without gradients."""
        graph = self._task.graphs[part]
        batch = tensors({name: inputs[name] for name in graph.inputs})
        with torch.inference_mode():
            outputs = graph.forward(self._network, {key: value.to(self._device) for key, value in batch.items()})
        return {name: value.float().cpu().numpy() for name, value in outputs.items()}


def work(config: Mapping[str, Any]) -> dict[str, Any]:
    """Train; returned is ``{"history": [...]}`` of rank 0.

    ``config``: recipe (dict), architecture (dict), directory (shared folder with task/), train_rows.
    """
    recipe = Recipe.model_validate(config["recipe"])
    settings = recipe.train
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(max(1, int(settings.cpus_per_worker)))
    directory = Path(config["directory"])
    task = load_task(recipe.task, directory / "task")
    network = build(Architecture.model_validate(config["architecture"]), pretrained=True)
    for name, parameter in network.named_parameters():
        parameter.requires_grad = not name.startswith(tuple(settings.freeze)) if settings.freeze else True
    model = ray.train.torch.prepare_model(
        Forward(task, network), parallel_strategy_kwargs={"find_unused_parameters": False}
    )
    device = ray.train.torch.get_device()
    optimizer = optim.optimizer(network, settings)
    per_worker = max(1, settings.batch_size // world)
    share = config["train_rows"] // world
    # a last batch of one row is left out: batch norm cannot take it
    alone = share > per_worker and share % per_worker == 1
    steps = max(1, share // per_worker if alone else math.ceil(share / per_worker))
    scheduler = optim.schedule(optimizer, settings, steps * max(1, settings.epochs))

    done: dict[str, Any] = {"epochs": 0, "seconds": 0.0, "history": []}
    if (last := ray.train.get_checkpoint()) is not None:
        with last.as_directory() as folder:
            done = checkpoint.load(Path(folder), network, optimizer)
        scheduler.last_epoch = done["epochs"] * steps
    torch.manual_seed(recipe.seed + 1000 * rank + done["epochs"])  # dropout differs between workers and epochs

    train_shard = ray.train.get_dataset_shard("train")
    validation_shard = ray.train.get_dataset_shard("validation")
    started = time.monotonic() - done["seconds"]
    progress = Progress(directory / PROGRESS_FILE, settings.epochs, steps, rank == 0)
    for epoch in range(done["epochs"], settings.epochs):
        begun = time.monotonic()
        model.train()
        total, rows, step = torch.zeros((), device=device), 0, 0
        seed = recipe.seed + 1 + epoch
        for batch in train_batches(
            train_shard,
            task,
            recipe.data.augment,
            per_worker,
            seed + 7919 * rank,
            smallest=2 if alone else 1,
            by_length=settings.group_by_length,
        ):
            loss = train_step(model, task, batch, optimizer, recipe)
            scheduler.step()
            count = len(next(iter(batch.values())))
            total, rows, step = total + loss.detach() * count, rows + count, step + 1
            progress.tell(epoch, step, float(loss.detach()))
        entry: dict[str, Any] = {"epoch": epoch, "loss": float(total) / max(1, rows), "rows": rows * world}
        if rank == 0 and rows == 0:
            raise RuntimeError("The training shard gave no rows; every worker needs at least one batch.")
        entry["learning_rate"] = float(optimizer.param_groups[0]["lr"])
        entry |= validate(task, network, validation_shard, settings.batch_size, rank, world)
        entry["seconds"] = time.monotonic() - begun
        elapsed = time.monotonic() - started
        done = {"epochs": epoch + 1, "seconds": elapsed, "history": [*done["history"], entry]}
        _report(task, network, optimizer, entry, done, rank)
        progress.tell(epoch, step, entry["loss"], entry)
        if _agree(settings.max_minutes is not None and elapsed > settings.max_minutes * 60, world):
            break
    return {"history": done["history"]}


def train_step(
    model: nn.Module, task: Task, batch: Tensors, optimizer: torch.optim.Optimizer, recipe: Recipe
) -> torch.Tensor:
    """Do one optimizer step and return its loss."""
    half = optim.bfloat16(recipe.train)
    device = next(model.parameters()).device
    batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        outputs = model({name: batch[name] for name in task.inputs})
    loss = task.loss({k: v.float() for k, v in outputs.items()}, batch, recipe.train.label_smoothing)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.train.clip_norm)
    optimizer.step()
    return loss


def validate(task: Task, network: nn.Module, shard: Any, batch_size: int, rank: int, world: int) -> dict[str, float]:
    """Score the network on the whole validation set; the workers share the rows, rank 0 gets the metrics."""
    predictor = Predictor(task, InTraining(task, network.eval()))
    pairs: list[tuple[Any, Row]] = []
    for rows in validation_rows(shard, batch_size, rank, world):
        truth = [{key: value for key, value in row.items() if key not in task.contract.fields} for row in rows]
        pairs += zip(predictor.predict(rows, task.for_scoring()), truth, strict=True)
    if world > 1:
        gathered: list[Any] = [None] * world
        torch.distributed.all_gather_object(gathered, pairs)
        pairs = [pair for part in gathered for pair in part]
    if rank != 0 or not pairs:
        return {}
    return task.score([answer for answer, _ in pairs], [row for _, row in pairs])


class Progress:
    """Writes how far training is to a small file that the driver reads; at most once a second."""

    def __init__(self, path: Path, epochs: int, steps: int, active: bool) -> None:
        self._path, self._epochs, self._steps, self._active = path, epochs, steps, active
        self._last = 0.0

    def tell(self, epoch: int, step: int, loss: float, entry: dict[str, Any] | None = None) -> None:
        """Note a step, or with ``entry`` a finished epoch."""
        now = time.monotonic()
        if not self._active or (entry is None and now - self._last < 1.0):
            return
        self._last = now
        state = {"epoch": epoch, "epochs": self._epochs, "step": step, "steps": self._steps, "loss": loss}
        write_atomically(self._path, json.dumps(state | {"entry": entry}))


def _report(
    task: Task,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    entry: dict[str, Any],
    done: dict[str, Any],
    rank: int,
) -> None:
    # every rank reports once per epoch (Ray Train counts the reports as a barrier); rank 0 alone brings a checkpoint
    metrics = {"score": entry.get(task.primary.name, 0.0), "epoch": entry["epoch"]}
    if rank != 0:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder), network, optimizer, done)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _agree(stop: bool, world: int) -> bool:
    if world == 1:
        return stop
    flag = torch.tensor(float(stop))
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag)
