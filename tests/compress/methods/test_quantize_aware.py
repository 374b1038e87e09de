"""Networks feel the rounding of eight bits while they are taught, and the exported graph keeps what they learned."""

from __future__ import annotations

import copy
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bigray import plugins
from bigray.compress import space
from bigray.compress.base import ConversionError
from bigray.compress.methods import _graphs
from bigray.compress.methods.quantize_aware import METHOD, Config
from bigray.compress.plan import Plan, carry_out, step
from bigray.engines.base import Program
from bigray.models import _fake_quantization
from bigray.recipe import Compress, Recipe
from bigray.train.recover import recover
from tests import networks
from tests.tasks.test_text_classification import ROWS, prepared

FAMILIES = [networks.bert, networks.vit, networks.wav2vec2, networks.residual, networks.text_cnn, networks.speech]


def tensors(program: Program) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(program.example[name].copy()) for name in program.inputs}


@pytest.mark.parametrize("build", FAMILIES)
def test_rounding_changes_answers_little_and_lets_gradients_through(build: Callable[[], Program]) -> None:
    program = build()
    before = networks.answer(program, program.example)["logits"]
    METHOD.prune(program, Config(), [], networks.samples(program))
    during = networks.answer(program, program.example)["logits"]
    assert 0 < np.abs(during - before).max() < 0.2 * np.abs(before).max()
    program.network.train()
    program.forward(program.network, tensors(program))["logits"].square().sum().backward()
    layers = [one for one in program.network.modules() if isinstance(one, _fake_quantization.LAYERS)]
    rounded = [one for one in layers if hasattr(one, "rounded_input")]
    assert len(rounded) > 2
    for layer in rounded:
        gradient = layer.parametrizations["weight"].original.grad  # type: ignore[index,union-attr]
        assert gradient is None or gradient.isfinite().all()  # BERT's pooler is not always asked
    assert sum(float(layer.parametrizations["weight"].original.grad.abs().sum()) > 0 for layer in rounded) > 2  # type: ignore[index,union-attr]
    names = set(build().network.state_dict())
    METHOD.finish(program, Config(), [])
    assert set(program.network.state_dict()) == names


@pytest.mark.parametrize("bits", [8, 6, 4])
def test_weights_end_on_their_grid(bits: int) -> None:
    program = networks.residual()
    METHOD.prune(program, Config(bits=bits), [], networks.samples(program))
    METHOD.finish(program, Config(bits=bits), [])
    for layer in program.network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            rows = layer.weight.detach().flatten(1)
            steps = rows / rows.abs().amax(1, keepdim=True) * (2 ** (bits - 1) - 1)
            assert (steps - steps.round()).abs().max() < 1e-3


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_range_follows_the_batches_and_holds_still_outside_of_training(symmetric: bool) -> None:
    rounded = _fake_quantization.RoundedInput(symmetric=symmetric).train()
    for _ in range(200):
        rounded(torch.tensor([0.0, 1.0, 2.0]))
    assert float(rounded.high) == pytest.approx(2.0)
    rounded(torch.tensor([0.0, 12.0]))
    assert float(rounded.high) == pytest.approx(2.0 + 0.05 * 10, rel=1e-3)
    x = torch.linspace(-1.0, 5.0, 101)
    found = rounded.eval()(x)
    assert float(rounded.high) == pytest.approx(2.5, rel=1e-3)
    step_size = 2.5 / (127 if symmetric else 255)
    inside = (x >= 0) & (x <= 2.5)
    assert float((found - x)[inside].abs().max()) <= 0.51 * step_size
    assert float(found.max()) == pytest.approx(2.5, rel=1e-2)
    assert (found[x < 0] < 0).all() if symmetric else (found[x < 0] == 0).all()


def test_it_is_taught_together_with_pruning_and_ends_as_a_graph_of_integers(tmp_path: Path) -> None:
    task, network = prepared("cnn", width=32)
    recipe = Recipe.model_validate(
        {"name": "a", "task": "text_classification", "data": {"train": "x"}, "train": {"batch_size": 8}}
    )
    dense, seen = copy.deepcopy(network), []

    def train(student: nn.Module) -> None:
        seen.append(sum(hasattr(one, "rounded_input") for one in student.modules()))
        recover(task, student, dense, ROWS, recipe, epochs=3)

    steps = (
        step("prune_structured", {"ratio": 0.5}),
        step("prune_magnitude", {"sparsity": 0.5, "scope": "layer"}),
        step("quantize_aware", {"bits": 4}),
    )
    carry_out(Plan(engine="openvino", steps=steps), task, network, ROWS[:8], tmp_path, train, ROWS)
    assert seen[0] >= 3
    assert not any(hasattr(one, "rounded_input") for one in network.modules())
    types = _graphs.openvino_types(tmp_path)
    assert types["FakeQuantize"] >= 2
    assert types["Constant:i8"] >= 2
    session = plugins.load("bigray.engines", "openvino").ENGINE.load(tmp_path)
    batch = task.encode(ROWS[:8])
    with torch.inference_mode():
        wanted = task.forward(network, {name: torch.from_numpy(batch[name]) for name in task.inputs})["logits"].numpy()
    found = session.run({name: batch[name] for name in task.inputs})["logits"]
    assert np.abs(found - wanted).max() < 0.2 * np.abs(wanted).max()


def test_fewer_bits_help_a_compressor(tmp_path: Path) -> None:
    packed = []
    for bits in (8, 4):
        folder = tmp_path / str(bits)
        folder.mkdir()
        program = networks.residual()
        METHOD.prune(program, Config(bits=bits), [], networks.samples(program))
        METHOD.finish(program, Config(bits=bits), [])
        plugins.load("bigray.engines", "openvino").ENGINE.export(program, folder)
        rows = iter([networks.pixels(1, seed=seed) for seed in range(4)])
        METHOD.rewrite(folder, "openvino", Config(bits=bits), rows, networks.task(field="image"))
        packed.append(len(gzip.compress((folder / "model.bin").read_bytes())))
    assert packed[1] < 0.7 * packed[0]


def test_what_it_does_not_suit_is_refused_with_the_reason() -> None:
    program = networks.lstm()
    with pytest.raises(ConversionError, match="recurrent layers in float32"):
        METHOD.prune(program, Config(), [], networks.samples(program))
    task, _ = prepared("cnn")
    assert "torch_eager" in (METHOD.suits(task, "torch_eager") or "")
    asked = Compress(methods=["quantize_aware", "quantize_static"], recover_epochs=0)  # type: ignore[list-item]
    found = space.build(asked, task)
    assert found.graph["openvino"] == ("quantize_static",)
    assert any("quantize_aware" in line and "recover_epochs is 0" in line for line in found.left_out)
    found = space.build(asked.model_copy(update={"recover_epochs": 1.0}), task)
    assert found.graph["openvino"] == ("quantize_aware", "quantize_static")


def test_tied_weights_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(10, 4)
            self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 10, bias=False)
            self.head.weight = self.embedding.weight

    network = Tied()
    assert _fake_quantization.put(network, bits=8, symmetric=False) == 1
    assert network.head.weight is network.embedding.weight
