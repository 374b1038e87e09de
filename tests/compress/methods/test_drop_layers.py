"""Networks with layers left out: fewer parameters, the same outputs' shapes, and the layers that were meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bigray import plugins
from bigray.compress.base import ConversionError
from bigray.compress.methods import _graphs
from bigray.compress.methods.drop_layers import METHOD, Config
from bigray.engines.base import Program
from bigray.models._replacements import Skip
from tests import networks


def prune(program: Program, fixed: tuple[str, ...] = (), **knobs: Any) -> list[str]:
    METHOD.prune(program, Config(**knobs), fixed, networks.samples(program))
    return [name for name, module in program.network.named_modules() if isinstance(module, Skip)]


def deep(blocks: int = 3) -> Program:
    """Two stages of ``blocks`` blocks each."""
    from bigray.models import cnn

    torch.manual_seed(0)
    own = {"width": 8, "depth": blocks, "stages": 2, "dropout": 0.0}
    return networks.image(cnn.build({"kind": "image", "image_size": 32, "classes": 5, **own}))


FAMILIES: dict[str, tuple[Callable[[], Program], str]] = {
    "bert": (lambda: networks.encoder("bert", 4), "bert.encoder.layer"),
    "roberta": (lambda: networks.encoder("roberta", 4), "roberta.encoder.layer"),
    "distilbert": (lambda: networks.encoder("distilbert", 4), "distilbert.transformer.layer"),
    "vit": (networks.vit, "vit.layers"),
    "wav2vec2": (networks.wav2vec2, "wav2vec2.encoder.layers"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_encoders_lose_their_top_layers(name: str, tmp_path: Path) -> None:
    build, path = FAMILIES[name]
    program = build()
    before = networks.parameters(program.network)
    shapes = {key: value.shape for key, value in networks.answer(program, program.example).items()}
    layer = networks.parameters(program.network.get_submodule(f"{path}.3"))
    assert prune(program, keep=0.5) == [f"{path}.2", f"{path}.3"]
    assert networks.parameters(program.network) == before - 2 * layer
    expected = networks.answer(program, program.example)
    assert {key: value.shape for key, value in expected.items()} == shapes
    engine = plugins.load("bigray.engines", "torch_eager").ENGINE
    engine.export(program, tmp_path)
    found = engine.load(tmp_path, program=build).run(program.example)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)


@pytest.mark.parametrize(
    ("engine", "build"),
    [("openvino", lambda: networks.encoder("bert", 4)), ("openvino", deep), ("onnxruntime", deep)],
    ids=["openvino-bert", "openvino-residual", "onnxruntime-residual"],
)
def test_shortened_networks_export_smaller(engine: str, build: Callable[[], Program], tmp_path: Path) -> None:
    program = build()
    prune(program, keep=0.5)
    runtime = plugins.load("bigray.engines", engine).ENGINE
    runtime.export(program, tmp_path)
    assert _graphs.weight_bytes(tmp_path) < 1.2 * 4 * networks.parameters(program.network)
    inputs = networks.words(3, 20) if "input_ids" in program.inputs else networks.pixels(3)
    found = runtime.load(tmp_path).run(inputs)["logits"]
    np.testing.assert_allclose(found, networks.answer(program, inputs)["logits"], atol=1e-4, rtol=1e-4)


def test_a_layer_that_does_nothing_is_the_first_to_go_and_nothing_changes() -> None:
    program = networks.encoder("bert", 4)
    idle = program.network.get_submodule("bert.encoder.layer.1")
    with torch.no_grad():
        for part in (idle.attention.output.dense, idle.output.dense):  # type: ignore[union-attr]
            part.weight.zero_()  # type: ignore[union-attr,operator]
            part.bias.zero_()  # type: ignore[union-attr,operator]
    expected = networks.answer(program, program.example)["logits"]
    assert prune(program, keep=0.75, which="importance") == ["bert.encoder.layer.1"]
    # its norms found the stream normed already
    np.testing.assert_allclose(networks.answer(program, program.example)["logits"], expected, atol=1e-5)


def test_alternate_spreads_those_that_stay() -> None:
    program = networks.encoder("bert", 5)
    assert prune(program, keep=0.6, which="alternate") == ["bert.encoder.layer.1", "bert.encoder.layer.3"]


def test_of_residual_networks_only_blocks_that_change_no_size_go() -> None:
    program = deep()
    # the first block of the second stage halves the sides
    assert prune(program, keep=0.1) == ["blocks.1", "blocks.2", "blocks.4", "blocks.5"]
    program = deep()
    assert "blocks.5" not in prune(program, ("blocks.5.conv2",), keep=0.1)
    program = networks.detector("mobilenet_v2")
    assert prune(program, keep=0.5)[-1].startswith("features.")


def test_layers_without_a_way_around_them_stay() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1), nn.ReLU()) for _ in range(4))
            self.inner = nn.ModuleList(_Straight() for _ in range(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in [*self.layers, *self.inner]:
                x = layer(x)
            return x.mean((2, 3))

    with pytest.raises(ConversionError, match="0 layers around a residual stream"):
        prune(networks.image(Plain()), keep=0.5)


class _Straight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x))


def test_nothing_to_drop_is_an_error_and_keep_1_does_nothing() -> None:
    program = networks.encoder("bert", 2)
    before = networks.parameters(program.network)
    assert prune(program, keep=1.0) == []
    assert networks.parameters(program.network) == before
    with pytest.raises(ConversionError, match=r"drops nothing at keep 0\.9: the network has 2 layers"):
        prune(program, keep=0.9)


def test_what_suits() -> None:
    assert METHOD.suits(networks.task("transformer"), "openvino") is None
    assert METHOD.suits(networks.task(field="image"), "openvino") is None
    assert "prune_structured" in (METHOD.suits(networks.task(), "openvino") or "")
