"""Recovery on as many workers as the recipe trains with: Ray Train's TorchTrainer, and `bigray.train.recover` in each.

Every worker takes its part of each batch, and gradients are averaged. The process that asked for it keeps the network; what
the workers are to do, and what they have reached, goes through an actor, and no files are shared.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from ray.train.torch import TorchTrainer
from torch import nn

from bigray.errors import TrainingFailed
from bigray.models._parametrized import Packed
from bigray.polling import polling
from bigray.recipe import Recipe
from bigray.tasks.base import Row, Task
from bigray.train import trainer
from bigray.train.loop import Forward
from bigray.train.recover import Part, recover

ASKED = 10
"""Steps between two questions whether to go on."""

LET_GO_S = 5.0
"""Time for what has just ended to give back its CPUs."""

State = dict[str, torch.Tensor]


def room(recipe: Recipe, beside: int, gpus: int = 0) -> bool:
    """Return whether the cluster has room left for the recipe's workers.

    ``beside`` are the CPUs, and ``gpus`` the GPUs, that candidates will hold while they wait for their workers: were there no
    room, they would wait for ever. What served models hold is not there.
    """
    settings = recipe.train
    needed = {"CPU": settings.workers * settings.cpus_per_worker + beside}
    needed |= {"GPU": settings.workers + gpus} if settings.gpu else {}

    def enough(there: Mapping[str, float]) -> bool:
        return all(there.get(name, 0) >= amount for name, amount in needed.items())

    end = time.monotonic() + LET_GO_S
    while enough(ray.cluster_resources()):
        if enough(ray.available_resources()):
            return True
        if time.monotonic() > end:
            break
        time.sleep(0.2)
    return False


def recover_together(
    task: Task,
    network: nn.Module,
    teacher: nn.Module,
    rows: Sequence[Row],
    recipe: Recipe,
    *,
    epochs: float,
    glance: Callable[[], object] | None = None,
) -> None:
    """Train ``network`` in place as `recover` does, on the recipe's workers; ``glance`` is called while they go on.

    Raises:
        TrainingFailed: More worker groups were lost than ``train.max_failures`` allows, or the code failed.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", trainer.POLL_S)
    settings = recipe.train
    order = _Order(task, Packed.of(network), Packed.of(teacher), rows, recipe, epochs)
    desk = ray.remote(_Desk).options(num_cpus=0).remote(order)
    ended: list[Exception] = []
    looked: list[bool] = []

    def look() -> None:
        if glance is None or looked or (state := ray.get(desk.early.remote())) is None:
            return
        looked.append(True)
        network.load_state_dict(state)
        try:
            glance()
        except Exception as error:  # raised below, when the workers have left
            ended.append(error)
            ray.get(desk.end.remote())

    output = Path(recipe.output) / recipe.name
    output.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="recovery-", dir=output))
    group = TorchTrainer(
        _work,
        train_loop_config={"desk": desk},
        scaling_config=trainer.scaling(settings),
        run_config=ray.train.RunConfig(
            name="ray_train",
            storage_path=str(folder),
            failure_config=ray.train.FailureConfig(max_failures=settings.max_failures),
            worker_runtime_env={"env_vars": trainer.network_environment()},
        ),
    )
    try:
        with polling(look):
            group.fit()
        reached: State | None = ray.get(desk.reached.remote())
    except Exception as error:
        raise TrainingFailed(f"Recovery on {settings.workers} workers failed: {trainer.reason(error)}") from error
    finally:
        ray.kill(desk)
        shutil.rmtree(folder, ignore_errors=True)
    if ended:
        raise ended[0]
    if reached is None:
        raise TrainingFailed(f"Recovery on {settings.workers} workers ended without weights.")
    network.load_state_dict(reached)
    network.eval()


@dataclass(frozen=True)
class _Order:
    """What workers are to do; see `recover`."""

    task: Task
    network: Packed
    teacher: Packed
    rows: Sequence[Row]
    recipe: Recipe
    epochs: float


class _Desk:
    """Where the workers and the process that asked for them leave things for each other."""

    def __init__(self, order: _Order) -> None:
        self._order, self._over = order, False
        self._early: State | None = None
        self._reached: State | None = None

    def order(self) -> _Order:
        return self._order

    def tell_early(self, state: State) -> None:
        self._early = state

    def early(self) -> State | None:
        return self._early

    def tell(self, state: State) -> None:
        self._reached = state

    def reached(self) -> State | None:
        return self._reached

    def end(self) -> None:
        self._over = True

    def over(self) -> bool:
        return self._over


def _work(config: Mapping[str, Any]) -> None:
    desk = config["desk"]
    order: _Order = ray.get(desk.order.remote())
    context, device = ray.train.get_context(), ray.train.torch.get_device()
    rank, world = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(max(1, int(order.recipe.train.cpus_per_worker)))
    network, teacher = order.network.open(), order.teacher.open().to(device)
    student = ray.train.torch.prepare_model(Forward(order.task, network))

    def state() -> State:
        return {name: value.detach().cpu() for name, value in network.state_dict().items()}

    def over(step: int) -> bool:
        if step % ASKED:
            return False
        flag = torch.tensor(float(rank == 0 and ray.get(desk.over.remote())), device=device)
        if world > 1:
            torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag)

    part = Part(rank, world, str(device), student, over, polite=context.get_local_rank() == 0)
    recover(
        order.task,
        network,
        teacher,
        order.rows,
        order.recipe,
        epochs=order.epochs,
        glance=(lambda: ray.get(desk.tell_early.remote(state()))) if rank == 0 else None,
        part=part,
    )
    if rank == 0:
        ray.get(desk.tell.remote(state()))
