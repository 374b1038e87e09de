"""Tables of rows become batches: each row once, rows of one length together, in an order that the seed decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bigray import plugins
from bigray.recipe import Data, Model
from bigray.tasks.base import Task
from bigray.train.data import Encode, Tensors

WORDS = [1 + (7 * number) % 30 for number in range(65)]


@pytest.fixture(scope="module")
def task() -> Task:
    rows: list[dict[str, Any]] = [{"text": " ".join(["word"] * count), "label": str(count % 2)} for count in WORDS]
    found: Task = plugins.load("bigray.tasks", "text_classification").TASK.prepare(Data(train="rows"), Model(), rows)
    return found


def batches(task: Task, count: int = 65, *, smallest: int = 1, seed: int = 0) -> list[Tensors]:
    texts = [" ".join(["word"] * words) for words in WORDS[:count]]
    table = pa.table({"text": texts, "label": [str(words % 2) for words in WORDS[:count]]})
    return Encode(task, [], 8, smallest, seed)(table)


def lengths(batch: Tensors) -> list[int]:
    return batch["attention_mask"].sum(1).tolist()


def test_rows_of_about_one_length_are_together_and_each_is_there_once(task: Task) -> None:
    found = batches(task)
    assert sorted(size for batch in found for size in lengths(batch)) == sorted(
        size for batch in batches(task, seed=1) for size in lengths(batch)
    )
    assert sum(len(batch["attention_mask"]) for batch in found) == 65
    assert sorted(len(batch["attention_mask"]) for batch in found) == [1, *[8] * 8]
    assert np.mean([max(lengths(batch)) - min(lengths(batch)) for batch in found]) <= 5  # at random 25 and more


def test_the_seed_decides_the_order(task: Task) -> None:
    first, same, other = ([lengths(batch) for batch in batches(task, seed=seed)] for seed in (0, 0, 1))
    assert first == same != other
    assert first != sorted(first)  # or every epoch would go from short to long


def test_a_batch_of_one_row_is_left_out_where_batch_norm_could_not_take_it(task: Task) -> None:
    assert sorted(len(batch["attention_mask"]) for batch in batches(task, smallest=2)) == [8] * 8


def test_rows_of_one_batch_keep_their_order(task: Task) -> None:
    (only,) = batches(task, 8)
    sizes = lengths(only)
    assert np.argsort(sizes).tolist() == np.argsort(WORDS[:8]).tolist() != list(range(8))
