"""Pruned networks are really smaller, keep their outputs' shapes, and lose exactly what was removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from bigray import plugins
from bigray.compress.base import ConversionError
from bigray.compress.methods.prune_structured import METHOD, Config
from bigray.engines.base import Program
from tests import networks

FAMILIES: dict[str, tuple[Callable[[], Program], list[str]]] = {
    "bert": (networks.bert, ["classifier"]),
    "ffnn": (networks.ffnn, ["head"]),
    "lstm": (lambda: networks.lstm("lstm", 2), ["head"]),
    "gru": (lambda: networks.lstm("gru"), ["head"]),
    "text_cnn": (networks.text_cnn, ["head"]),
    "residual": (networks.residual, ["head"]),
    "speech": (networks.speech, ["head"]),
    "detector": (networks.detector, ["class_logits", "distances", "centerness"]),
    "mobilenet": (lambda: networks.detector("mobilenet_v2"), ["class_logits", "distances", "centerness"]),
}


def prune(program: Program, config: Config, keep: list[str]) -> None:
    METHOD.prune(program, config, keep, networks.samples(program))


@pytest.mark.parametrize("name", FAMILIES)
def test_smaller_and_the_same_after_saving(name: str, tmp_path: Path) -> None:
    build, keep = FAMILIES[name]
    program = build()
    dense = {key: value.shape for key, value in networks.answer(program, program.example).items()}
    before = networks.parameters(program.network)
    prune(program, Config(ratio=0.5), keep)
    expected = networks.answer(program, program.example)
    assert {key: value.shape for key, value in expected.items()} == dense
    assert networks.parameters(program.network) < 0.85 * before
    engine = plugins.load("bigray.engines", "torch_eager").ENGINE
    engine.export(program, tmp_path)
    found = engine.load(tmp_path, program=build).run(program.example)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("name", ["bert", "residual"])
def test_pruned_networks_export(engine: str, name: str, tmp_path: Path) -> None:
    build, keep = FAMILIES[name]
    program = build()
    prune(program, Config(ratio=0.5), keep)
    runtime = plugins.load("bigray.engines", engine).ENGINE
    runtime.export(program, tmp_path)
    inputs = networks.words(3, 20) if name == "bert" else networks.pixels(3)
    found = runtime.load(tmp_path).run(inputs)["logits"]
    np.testing.assert_allclose(found, networks.answer(program, inputs)["logits"], atol=1e-4, rtol=1e-4)


def _silence_bert(network: nn.Module) -> None:
    """Make one head of four and half of the hidden units idle, in each layer."""
    for layer in network.bert.encoder.layer:  # type: ignore[union-attr]
        attention = layer.attention.self
        for projection in (attention.query, attention.key, attention.value):
            projection.weight[8:16] = projection.bias[8:16] = 0
        layer.attention.output.dense.weight[:, 8:16] = 0
        layer.intermediate.dense.weight[::2] = layer.intermediate.dense.bias[::2] = 0
        layer.output.dense.weight[:, ::2] = 0


def _silence_residual(network: nn.Module) -> None:
    """Make half of the channels between the two convolutions of each block idle."""
    for block in network.blocks:  # type: ignore[union-attr]
        block.conv1.weight[::2] = block.norm1.weight[::2] = block.norm1.bias[::2] = 0
        block.conv2.weight[:, ::2] = 0


def _silence_rnn(network: nn.Module) -> None:
    """Make every other hidden unit of both layers idle."""
    cell = network.rnn
    hidden = cell.hidden_size
    rows = [
        gate * hidden + unit for gate in range(cell.weight_hh_l0.shape[0] // hidden) for unit in range(0, hidden, 2)
    ]
    for name, parameter in cell.named_parameters():
        parameter[rows] = 0
        if "weight_hh" in name or name == "weight_ih_l1":
            parameter[:, ::2] = 0
    network.head.weight[:, ::2] = 0


@pytest.mark.parametrize(
    ("build", "silence", "ratio"),
    [
        (networks.bert, _silence_bert, 0.25),
        (networks.residual, _silence_residual, 0.5),
        (lambda: networks.lstm("lstm", 2), _silence_rnn, 0.5),
    ],
    ids=["bert", "residual", "lstm"],
)
@pytest.mark.parametrize("importance", ["magnitude", "taylor", "activation"])
def test_removing_what_is_idle_changes_nothing(
    build: Callable[[], Program], silence: Callable[[nn.Module], None], ratio: float, importance: Any
) -> None:
    program = build()
    with torch.no_grad():
        silence(program.network)
    expected = networks.answer(program, program.example)["logits"]
    # the residual stream of the image network has nothing idle in it
    keep = ["stem.0", "blocks.0.conv2", "blocks.1.conv2", "head"] if build is networks.residual else ["head"]
    keep = ["classifier", "bert.pooler.dense"] if build is networks.bert else keep
    before = networks.parameters(program.network)
    prune(program, Config(ratio=ratio, importance=importance), keep)
    assert networks.parameters(program.network) < 0.9 * before
    np.testing.assert_allclose(networks.answer(program, program.example)["logits"], expected, atol=1e-5)


def test_heads_go_whole_and_the_stream_stays() -> None:
    program = networks.bert()
    prune(program, Config(ratio=0.5), ["classifier"])
    for layer in program.network.bert.encoder.layer:  # type: ignore[union-attr]
        attention = layer.attention.self
        assert attention.query.out_features == attention.all_head_size == 16  # 2 of 4 heads, 8 wide
        assert attention.num_attention_heads == 2
        assert layer.intermediate.dense.out_features == 32
        assert layer.output.dense.out_features == 32


def test_feed_forward_only_leaves_the_heads() -> None:
    program = networks.bert()
    prune(program, Config(ratio=0.5, parts="feed_forward"), ["classifier"])
    layer = program.network.bert.encoder.layer[0]  # type: ignore[union-attr]
    assert layer.attention.self.query.out_features == 32
    assert layer.intermediate.dense.out_features == 32


def test_kept_modules_keep_their_width_and_widths_are_rounded() -> None:
    program = networks.residual()
    prune(program, Config(ratio=0.3, round_to=4), ["head", "blocks.0.conv1"])
    widths = [module.out_channels for module in program.network.modules() if isinstance(module, nn.Conv2d)]
    assert program.network.blocks[0].conv1.out_channels == 16  # type: ignore[index,union-attr]
    assert all(width % 4 == 0 for width in widths)
    assert min(widths) < 16


def test_the_same_network_is_pruned_the_same_way_and_stays_trainable_as_it_was() -> None:
    states = []
    for _ in range(2):
        program = networks.residual()
        program.network.stem.requires_grad_(False)  # type: ignore[union-attr]
        prune(program, Config(ratio=0.4), ["head"])
        frozen = [name for name, parameter in program.network.named_parameters() if not parameter.requires_grad]
        assert frozen
        assert all(name.startswith("stem") for name in frozen)
        states.append(program.network.state_dict())
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key], rtol=0, atol=0)


def test_ratio_zero_does_nothing_and_nothing_to_remove_is_an_error() -> None:
    program = networks.ffnn()
    before = networks.parameters(program.network)
    prune(program, Config(ratio=0.0), [])
    assert networks.parameters(program.network) == before
    with pytest.raises(ConversionError, match="removed nothing"):
        prune(program, Config(ratio=0.5), ["head", "hidden"])
    with pytest.raises(ValidationError):
        Config(ratio=0.9)


def _unheard(network: nn.Module) -> None:
    """Give the hidden layer of the bag of words large weights that the head does not listen to, and idle small ones."""
    network.hidden.weight[:32] *= 50  # type: ignore[union-attr,operator]
    network.head.weight[:, :32] = 0  # type: ignore[union-attr]


def test_gradients_see_what_weights_hide() -> None:
    changes = {}
    for importance in ("magnitude", "taylor"):
        program = networks.ffnn()
        with torch.no_grad():
            _unheard(program.network)
        expected = networks.answer(program, program.example)["logits"]
        prune(program, Config(ratio=0.5, importance=importance), ["head"])
        changes[importance] = np.abs(networks.answer(program, program.example)["logits"] - expected).max()
    assert changes["taylor"] < 1e-5 < changes["magnitude"]


def test_activations_are_those_of_the_calibration_rows() -> None:
    program = networks.ffnn()
    hidden: nn.Linear = program.network.hidden  # type: ignore[assignment]
    with torch.no_grad():
        hidden.bias[:] = torch.linspace(5, 100, 64)
        hidden.weight[::2] *= 3  # larger weights, yet no larger outputs
    last = hidden.bias[32:].tolist()
    prune(program, Config(ratio=0.5, importance="activation"), ["head"])
    assert program.network.hidden.bias.tolist() == last  # type: ignore[union-attr]


@pytest.mark.parametrize("importance", ["taylor", "activation"])
def test_weights_survive_the_scoring_and_no_rows_is_an_error(importance: Any) -> None:
    program = networks.lstm("gru", 2)
    before = {key: value.clone() for key, value in program.network.state_dict().items()}
    nothing = networks.samples(program, 0)
    with pytest.raises(ConversionError, match=f"importance {importance} needs calibration rows"):
        METHOD.prune(program, Config(ratio=0.5, importance=importance), ["head"], nothing)
    for key, value in program.network.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)
    prune(program, Config(ratio=0.5, importance=importance), ["head"])
    assert program.network.rnn.hidden_size == 24  # type: ignore[union-attr]
    assert all(parameter.grad is None for parameter in program.network.parameters())


@pytest.mark.slow
def test_torchvision_networks() -> None:
    from torchvision import models

    for name in ("resnet18", "mobilenet_v3_small", "densenet121", "convnext_tiny", "regnet_y_400mf", "vgg11"):
        network = models.get_model(name, weights=None, num_classes=10)
        program = networks.image(network, 64)
        before = networks.parameters(network)
        prune(program, Config(ratio=0.3), [])
        assert networks.parameters(network) < 0.95 * before, name
