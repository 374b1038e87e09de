"""From a worker's shard to batches of tensors: augment, encode, convert, off the training thread."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from ray.data.collate_fn import ArrowBatchCollateFn

from bigray.data import augment
from bigray.recipe import Augmentation
from bigray.tasks.base import Batch, Row, Task

Tensors = dict[str, torch.Tensor]


def tensors(batch: Batch) -> Tensors:
    """Wrap arrays as tensors, without a copy where memory allows."""
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in batch.items()}


class Encode(ArrowBatchCollateFn):  # type: ignore[misc]
    """Turns a table of rows into tensors; Ray Data runs it in background threads."""

    def __init__(self, task: Task, augmentations: Sequence[Augmentation], seed: int) -> None:
        super().__init__()
        self._task, self._augmentations = task, list(augmentations)
        self._seed, self._number = seed, itertools.count()

    def __call__(self, batch: pa.Table) -> Tensors:
        """Return the encoded batch."""
        # a generator of its own per batch: several threads may be at work
        rng = np.random.default_rng([self._seed, next(self._number)])
        rows = augment.draw(batch.to_pylist(), rng)
        rows = augment.apply(rows, self._augmentations, rng, self._task.contract.field)
        return tensors(self._task.encode(rows))


def train_batches(
    shard: Any, task: Task, augmentations: Sequence[Augmentation], batch_size: int, seed: int, *, drop_last: bool
) -> Iterator[Tensors]:
    """Iterate one epoch of a shard in an order that the seed decides."""
    batches: Iterator[Tensors] = iter(
        shard.iter_torch_batches(
            batch_size=batch_size,
            collate_fn=Encode(task, augmentations, seed),
            local_shuffle_buffer_size=max(2000, 8 * batch_size),
            local_shuffle_seed=seed,
            prefetch_batches=2,
            drop_last=drop_last,
        )
    )
    return batches


def validation_rows(shard: Any, batch_size: int, rank: int, world: int) -> Iterator[list[Row]]:
    """Iterate this worker's share of the whole validation set: every ``world``-th batch, so that no row is lost."""
    for number, table in enumerate(shard.iter_batches(batch_size=batch_size, batch_format="pyarrow")):
        if number % world == rank:
            yield table.to_pylist()
