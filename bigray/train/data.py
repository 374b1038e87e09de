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

GROUPED = 16
"""Batches that are cut together from rows sorted by length."""


def tensors(batch: Batch) -> Tensors:
    """Wrap arrays as tensors, without a copy where memory allows."""
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in batch.items()}


class Encode(ArrowBatchCollateFn):  # type: ignore[misc]
    """Turns a table of rows into batches of tensors; Ray Data runs it in background threads.

    A table of more than ``batch_size`` rows becomes batches of rows of about one length, in an order drawn anew, so
    that little of them is padding (``group_by_length`` of transformers' Trainer). Batches of fewer than ``smallest``
    rows are left out.
    """

    def __init__(
        self, task: Task, augmentations: Sequence[Augmentation], batch_size: int, smallest: int, seed: int
    ) -> None:
        super().__init__()
        self._task, self._augmentations = task, list(augmentations)
        self._batch_size, self._smallest = batch_size, smallest
        self._seed, self._number = seed, itertools.count()

    def __call__(self, table: pa.Table) -> list[Tensors]:
        """Return the encoded batches."""
        # a generator of its own per table: several threads may be at work
        rng = np.random.default_rng([self._seed, next(self._number)])
        rows = table.to_pylist()
        if len(rows) > self._batch_size:
            rows.sort(key=self._task.item_bytes)
        rows = augment.draw(rows, rng)
        rows = augment.apply(rows, self._augmentations, rng, self._task.contract.field)
        cut = [rows[start : start + self._batch_size] for start in range(0, len(rows), self._batch_size)]
        cut = [batch for batch in cut if len(batch) >= self._smallest]
        return [tensors(self._task.encode(cut[number])) for number in rng.permutation(len(cut))]


def train_batches(
    shard: Any,
    task: Task,
    augmentations: Sequence[Augmentation],
    batch_size: int,
    seed: int,
    *,
    smallest: int = 1,
    by_length: bool = False,
) -> Iterator[Tensors]:
    """Iterate one epoch of a shard in an order that the seed decides."""
    pool = batch_size * (GROUPED if by_length else 1)
    for batches in shard.iter_torch_batches(
        batch_size=pool,
        collate_fn=Encode(task, augmentations, batch_size, smallest, seed),
        local_shuffle_buffer_size=max(2000, 2 * pool, 8 * batch_size),
        local_shuffle_seed=seed,
        prefetch_batches=2,
        drop_last=False,
    ):
        yield from batches


def validation_rows(shard: Any, batch_size: int, rank: int, world: int) -> Iterator[list[Row]]:
    """Iterate this worker's share of the whole validation set: every ``world``-th batch, so that no row is lost."""
    for number, table in enumerate(shard.iter_batches(batch_size=batch_size, batch_format="pyarrow")):
        if number % world == rank:
            yield table.to_pylist()
