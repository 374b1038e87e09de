"""From a recipe to a trained network: Ray Train's TorchTrainer, data-parallel, restarted after failures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchTrainer

from bigray.data import sources
from bigray.data.sources import Splits
from bigray.errors import TrainingFailed, UserError
from bigray.models.base import Architecture
from bigray.polling import polling
from bigray.recipe import Recipe, Train
from bigray.tasks.base import Task
from bigray.train import loop

Listener = Callable[[dict[str, Any]], None]

POLL_S = "0.25"
"""Ray Train takes one report of each worker per poll: at its own 2 s, short epochs would wait for it."""


@dataclass(frozen=True)
class Trained:
    """What training left behind."""

    checkpoint: Path
    """Folder of the best checkpoint by the primary validation metric."""
    history: list[dict[str, Any]]
    """One entry per epoch, also of epochs whose checkpoint is gone."""


def fit(
    recipe: Recipe,
    task: Task,
    architecture: Architecture,
    splits: Splits,
    directory: Path,
    listen: Listener | None = None,
) -> Trained:
    """Train on the running Ray cluster; called again with the same directory it goes on where it stopped.

    ``directory`` must be visible to every node. ``listen`` gets a dict per second or so: epoch, epochs, step, steps,
    loss, and ``entry`` (the epoch's metrics) once an epoch ends.

    Raises:
        TrainingFailed: More worker groups were lost than ``train.max_failures`` allows, or the code failed.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", POLL_S)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "task").mkdir(exist_ok=True)
    task.save(directory / "task")
    settings = recipe.train
    sign = "max" if task.primary.higher_is_better else "min"
    trainer = TorchTrainer(
        loop.work,
        train_loop_config={
            "recipe": recipe.model_dump(mode="json"),
            "architecture": architecture.model_dump(mode="json"),
            "directory": str(directory),
            "train_rows": splits.counts["train"],
        },
        datasets={"train": splits.train, "validation": splits.validation},
        dataset_config=ray.train.DataConfig(datasets_to_split=["train"]),
        scaling_config=scaling(settings),
        run_config=ray.train.RunConfig(
            name="ray_train",
            storage_path=str(directory),
            failure_config=ray.train.FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=settings.keep_checkpoints, checkpoint_score_attribute="score", checkpoint_score_order=sign
            ),
            worker_runtime_env={"env_vars": network_environment()},
        ),
    )
    with polling(_Follow(directory / loop.PROGRESS_FILE, listen)):
        try:
            result = trainer.fit()
        except Exception as error:
            cause = sources.original(error)
            if isinstance(cause, UserError):
                raise cause from None
            raise TrainingFailed(f"Training failed: {reason(error)} Logs: {directory / 'ray_train'}.") from error
    if not result.best_checkpoints:
        raise TrainingFailed("Training ended without a checkpoint.")
    pick = max if task.primary.higher_is_better else min
    best, _ = pick(result.best_checkpoints, key=lambda pair: pair[1]["score"])
    history = (result.return_value or {}).get("history") or _history(Path(best.path))
    return Trained(Path(best.path), history)


def network_environment() -> dict[str, str]:
    """Name the network interface for gloo on clusters of several hosts.

    Gloo otherwise resolves the host's own name, which Debian's /etc/hosts maps to loopback: workers on other hosts
    could then never connect. On one host loopback is right.
    """
    import socket

    addresses = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    if len(addresses) < 2:
        return {}
    import psutil

    own = ray.util.get_node_ip_address()
    for name, entries in psutil.net_if_addrs().items():
        if any(entry.family == socket.AF_INET and entry.address == own for entry in entries):
            return {"GLOO_SOCKET_IFNAME": name}
    return {}


class _Follow:
    """Passes what the workers' progress file says on to a listener, each state once."""

    def __init__(self, path: Path, listen: Listener | None) -> None:
        self._path, self._listen, self._last = path, listen, None

    def __call__(self) -> None:
        try:
            state = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if self._listen is not None and state != self._last:
            self._last = state
            self._listen(state)


def scaling(settings: Train) -> ray.train.ScalingConfig:
    """Return how many workers there are, and what each takes."""
    return ray.train.ScalingConfig(
        num_workers=settings.workers,
        use_gpu=settings.gpu,
        resources_per_worker={"CPU": settings.cpus_per_worker} | ({"GPU": 1} if settings.gpu else {}),
    )


def _history(checkpoint: Path) -> list[dict[str, Any]]:
    state = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    history: list[dict[str, Any]] = state["progress"]["history"]
    return history


def reason(error: BaseException) -> str:
    """Return what happened in a worker, in one line."""
    # Ray wraps the worker's error several times; the last line of the innermost text says what happened
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".") + "."
