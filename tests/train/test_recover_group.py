"""Recovery on several workers: the network comes back trained, its masks and its rounding still on it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import ray
import torch
from ray import cloudpickle
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from bigray import plugins
from bigray import recipe as recipes
from bigray.compress.base import Samples
from bigray.compress.plan import method, step
from bigray.models._parametrized import Packed
from bigray.models.base import build
from bigray.predictor import program
from bigray.recipe import Data, Model, Recipe
from bigray.tasks.base import Row, Task
from bigray.train import recover_group
from bigray.train.recover import recover
from bigray.train.recover_group import recover_together, room

WORDS = ("good fine bright", "bad dull poor", "neither here nor there")
ROWS: list[Row] = [{"text": f"{WORDS[i % 3]} film {i}", "label": "abc"[i % 3]} for i in range(120)]


def recipe(folder: Path, workers: int = 2, cpus: float = 0.25) -> Recipe:
    text = f"""
name: together
task: text_classification
output: {folder}
data: {{train: rows.csv}}
model: {{name: ffnn}}
train: {{batch_size: 10, learning_rate: 0.02, workers: {workers}, cpus_per_worker: {cpus}, precision: float32}}
"""
    return recipes.parse(text)


def taught(folder: Path) -> tuple[Task, nn.Module, Recipe]:
    """Return a task, a network that knows it, and how to train."""
    torch.manual_seed(0)
    settings = recipe(folder)
    task = plugins.load("bigray.tasks", "text_classification").TASK.prepare(
        Data(train="rows"), Model(name="ffnn"), ROWS
    )
    network = build(task.architecture(Model(name="ffnn")), pretrained=False)
    recover(task, network, network, ROWS, settings, epochs=8)
    return task, network, settings


def test_a_network_goes_through_a_pickle_with_what_covers_its_weights() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), parametrizations.weight_norm(nn.Linear(8, 2)))
    mask = nn.Dropout(0.0)
    parametrize.register_parametrization(network[0], "weight", mask)
    x = torch.randn(5, 4)
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        cloudpickle.dumps(network)
    again = cloudpickle.loads(cloudpickle.dumps(Packed.of(network))).open()
    assert parametrize.is_parametrized(again[0], "weight")
    assert parametrize.is_parametrized(again[2], "weight")
    assert list(again.state_dict()) == list(network.state_dict())
    torch.testing.assert_close(again(x), network(x))


@pytest.mark.cluster
def test_two_workers_teach_what_one_would(ray_cluster: None, tmp_path: Path) -> None:
    task, teacher, settings = taught(tmp_path)

    def hurt() -> nn.Module:
        network = copy.deepcopy(teacher)
        for name, knobs in (("prune_magnitude", {"sparsity": 0.8}), ("quantize_aware", {})):
            config = method(name).Config.model_validate(step(name, knobs).knobs)
            method(name).prune(program(task, network), config, [], Samples(task, ROWS[:32], ROWS))
        return network

    def weights(network: nn.Module) -> torch.Tensor:
        return torch.cat([value.detach().flatten() for value in network.parameters()])

    alone, together, looks = hurt(), hurt(), []
    before = weights(together)
    assert recover(task, alone, teacher, ROWS, settings, epochs=4) == 48
    recover_together(task, together, teacher, ROWS, settings, epochs=4, glance=lambda: looks.append(weights(together)))
    assert len(looks) == 1
    assert not torch.equal(looks[0], before)  # in the middle
    assert not torch.equal(looks[0], weights(together))
    assert not together.training
    # halves of the same batches: the same gradients but for what rounding learns of ranges
    moved, expected = weights(together) - before, weights(alone) - before
    assert torch.nn.functional.cosine_similarity(moved, expected, dim=0) > 0.9
    covered = [layer for layer in together.modules() if parametrize.is_parametrized(layer, "weight")]
    assert covered
    assert [path.name for path in (tmp_path / "together").iterdir()] == []


@pytest.mark.cluster
def test_room_is_what_nobody_else_holds(ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover_group, "LET_GO_S", 0.5)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 3.0})  # of four; a served model has the fourth
    assert room(recipe(tmp_path, 2, 1), beside=1)
    assert not room(recipe(tmp_path, 2, 1), beside=2)
    assert not room(recipe(tmp_path, 1000, 1), beside=1)


@pytest.mark.slow
@pytest.mark.cluster
def test_workers_leave_when_a_look_says_so(ray_cluster: None, tmp_path: Path) -> None:
    task, teacher, settings = taught(tmp_path)

    def enough() -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        recover_together(task, copy.deepcopy(teacher), teacher, ROWS, settings, epochs=30, glance=enough)
