"""Recovery by a teacher alone: what is asked about changed rows, labels do not answer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from bigray import plugins
from bigray import recipe as recipes
from bigray.models.base import build
from bigray.recipe import Data, Model
from bigray.tasks.base import Row
from bigray.train import optim
from bigray.train.recover import recover

WORDS = {"good": "good fine bright lovely", "bad": "bad dull poor weak"}
ROWS: list[Row] = [{"text": f"{words} film {n}", "label": label} for n in range(40) for label, words in WORDS.items()]
SWAPPED: list[Row] = [{**row, "label": "bad" if row["label"] == "good" else "good"} for row in ROWS]
RECIPE = """
name: taught
task: text_classification
data: {train: rows.csv}
model: {name: ffnn}
train: {batch_size: 10, learning_rate: 0.02}
"""


def _right(task: Any, network: torch.nn.Module) -> float:
    batch = task.encode(ROWS)
    with torch.no_grad():
        logits = task.forward(network.eval(), {name: torch.from_numpy(batch[name]) for name in task.inputs})["logits"]
    return float((logits.argmax(-1) == torch.from_numpy(batch["target"])).float().mean())


@pytest.fixture(scope="module")
def taught() -> tuple[Any, torch.nn.Module, torch.nn.Module]:
    """Task, a network that learned the rows, and one that learned nothing."""
    torch.manual_seed(0)
    task = plugins.load("bigray.tasks", "text_classification").TASK.prepare(
        Data(train="rows"), Model(name="ffnn"), ROWS
    )
    blank = build(task.architecture(Model(name="ffnn")), pretrained=False)
    teacher = copy.deepcopy(blank)
    recover(task, teacher, copy.deepcopy(blank), ROWS, recipes.parse(RECIPE), epochs=8)
    assert _right(task, teacher) > 0.95
    return task, teacher, blank


def test_with_changed_rows_the_teacher_alone_says_what_is_right(taught: Any) -> None:
    task, teacher, blank = taught
    changed = recipes.parse(RECIPE, ["compress.augment=[crop_words]"])
    student = copy.deepcopy(blank)
    recover(task, student, teacher, SWAPPED, changed, epochs=8)
    assert _right(task, student) > 0.95
    misled = copy.deepcopy(blank)
    wrong = copy.deepcopy(teacher)  # one that was taught the wrong labels, and agrees with them
    recover(task, wrong, copy.deepcopy(blank), SWAPPED, recipes.parse(RECIPE), epochs=8)
    recover(task, misled, wrong, ROWS, changed, epochs=8)
    assert _right(task, misled) < 0.2


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ([], 0.01),  # half of training's
        (["compress.recover_learning_rate=0.003"], 0.003),
        (["train.epochs=0"], 1e-5),
        (["train.epochs=0", "compress.recover_learning_rate=0.003"], 0.003),
    ],
)
def test_the_learning_rate_of_recovery(
    taught: Any, given: list[str], rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, teacher, blank = taught
    seen: list[float] = []
    make = optim.optimizer
    monkeypatch.setattr(optim, "optimizer", lambda net, own: seen.append(own.learning_rate) or make(net, own))
    recover(task, copy.deepcopy(blank), teacher, ROWS, recipes.parse(RECIPE, given), epochs=0.1)
    assert seen == [rate]
