"""Zeros that were asked for are there after training, cost nothing but zeros, and help a compressor only."""

from __future__ import annotations

import copy
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bigray import plugins
from bigray.compress.base import ConversionError
from bigray.compress.methods import quantize_static
from bigray.compress.methods.prune_magnitude import METHOD, Config
from bigray.compress.plan import Plan, carry_out, step
from bigray.engines.base import Program
from bigray.models import _masks
from bigray.recipe import Recipe
from bigray.train.recover import recover
from tests import networks
from tests.tasks.test_text_classification import ROWS, prepared


def prune(program: Program, keep: list[str], **knobs: Any) -> None:
    METHOD.prune(program, Config(**knobs), keep, networks.samples(program))
    METHOD.finish(program, Config(**knobs), keep)


def zeros(network: nn.Module) -> dict[str, float]:
    layers = {name: one for name, one in network.named_modules() if isinstance(one, nn.Linear | nn.Conv1d | nn.Conv2d)}
    return {name: float((layer.weight == 0).double().mean()) for name, layer in layers.items()}


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("schedule", ["cubic", "one_shot"])
@pytest.mark.parametrize(("build", "head"), [(networks.bert, "classifier"), (networks.residual, "head")])
def test_the_smallest_weights_are_zero_and_the_others_as_before(
    build: Callable[[], Program], head: str, schedule: str, scope: str, tmp_path: Path
) -> None:
    program, dense = build(), build()
    prune(program, [head], sparsity=0.7, schedule=schedule, scope=scope)
    found = zeros(program.network)
    assert found.pop(head) == 0
    if scope == "layer":
        assert all(share == pytest.approx(0.7, abs=0.01) for share in found.values())
    else:
        sizes = {name: dense.network.get_submodule(name).weight.numel() for name in found}  # type: ignore[union-attr,operator]
        total = sum(found[name] * sizes[name] for name in found) / sum(sizes.values())
        assert total == pytest.approx(0.7, abs=0.01)
    for name in found:
        old, new = (one.network.get_submodule(name).weight for one in (dense, program))
        gone = new == 0
        assert torch.equal(new[~gone], old[~gone])  # type: ignore[index]
        assert old[gone].abs().max() <= old[~gone].abs().min()  # type: ignore[index,union-attr,operator]
    assert set(program.network.state_dict()) == set(dense.network.state_dict())
    engine = plugins.load("bigray.engines", "torch_eager").ENGINE
    engine.export(program, tmp_path)
    reloaded = engine.load(tmp_path, program=build).run(program.example)["logits"]
    np.testing.assert_array_equal(reloaded, networks.answer(program, program.example)["logits"])


def test_the_share_of_zeros_follows_the_cubic_law() -> None:
    layer = nn.Linear(50, 40)
    _masks.put(layer, _masks.Mask(layer.weight, 0.8, cubic=True))
    shares = []
    for progress in (0.0, 0.25 * _masks.RAMP, 0.5 * _masks.RAMP, _masks.RAMP, 1.0):
        _masks.advance(layer, progress)
        shares.append(float((layer.weight == 0).double().mean()))
    assert shares == pytest.approx([0, 0.8 * (1 - 0.75**3), 0.8 * (1 - 0.5**3), 0.8, 0.8], abs=0.01)


@pytest.mark.parametrize("schedule", ["cubic", "one_shot"])
def test_zeros_hold_while_recovery_trains(schedule: str, tmp_path: Path) -> None:
    task, network = prepared("ffnn")
    recipe = Recipe.model_validate(
        {"name": "a", "task": "text_classification", "data": {"train": "x"}, "train": {"batch_size": 8}}
    )
    dense, steps, during = copy.deepcopy(network), [], []

    def train(pruned: nn.Module) -> None:
        during.append(max(zeros(pruned).values()))
        steps.append(recover(task, pruned, dense, ROWS, recipe, epochs=4))
        during.append(max(zeros(pruned).values()))

    plan = Plan(engine="torch_eager", steps=(step("prune_magnitude", {"sparsity": 0.8, "schedule": schedule}),))
    carry_out(plan, task, network, ROWS[:8], tmp_path, train)
    assert steps == [12]
    assert during[0] == pytest.approx(0.0 if schedule == "cubic" else 0.8, abs=0.01)
    assert during[1] == pytest.approx(0.8, abs=0.01)
    after = zeros(network)
    assert after["layers.0"] == pytest.approx(0.8, abs=0.01)
    assert after["head"] == 0
    left = network.layers[0].weight != 0
    assert not torch.equal(network.layers[0].weight[left], dense.layers[0].weight[left])  # trained on


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_only_a_compressor_makes_it_smaller(engine: str, tmp_path: Path) -> None:
    runtime = plugins.load("bigray.engines", engine).ENGINE
    lying, packed = [], []
    for sparsity in (0.0, 0.8):
        folder = tmp_path / str(sparsity)
        folder.mkdir()
        program = networks.residual()
        prune(program, ["head"], sparsity=sparsity)
        runtime.export(program, folder)
        rows = iter([networks.pixels(1, seed=seed) for seed in range(4)])
        quantize_static.METHOD.rewrite(folder, engine, quantize_static.Config(), rows, networks.task(field="image"))
        weights = next(folder / name for name in ("model.bin", "model.onnx") if (folder / name).exists()).read_bytes()
        lying.append(len(weights))
        packed.append(len(gzip.compress(weights)))
    assert lying[1] == pytest.approx(lying[0], rel=0.02)
    assert packed[1] < 0.6 * packed[0]


def test_nothing_to_prune_is_an_error_and_0_does_nothing() -> None:
    program = networks.lstm()
    with pytest.raises(ConversionError, match="no linear layer"):
        prune(program, ["head"])
    prune(program, ["head"], sparsity=0)
    program = networks.ffnn()
    METHOD.prune(program, Config(), ["head"], networks.samples(program))
    _masks.settle(program.network)
    with torch.no_grad():
        program.network.hidden.weight += 1  # type: ignore[union-attr,operator]
    with pytest.raises(ConversionError, match="60% were asked for"):
        METHOD.finish(program, Config(), ["head"])
