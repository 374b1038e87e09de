"""Factored layers are smaller, nearest where the data is, and reload; those that would not gain are left alone."""

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
from bigray.compress.methods.low_rank import METHOD, Config
from bigray.engines.base import Program
from bigray.models._replacements import LowRank
from tests import networks

FAMILIES: dict[str, tuple[Callable[[], Program], list[str]]] = {
    "bert": (lambda: networks.encoder("bert", 1), ["classifier"]),
    "vit": (networks.vit, ["classifier"]),
    "residual": (networks.residual, ["head"]),
    "speech": (networks.speech, ["head"]),
    "ffnn": (networks.ffnn, ["head"]),
}


def factor(program: Program, keep: list[str], **knobs: Any) -> dict[str, LowRank]:
    METHOD.prune(program, Config(**knobs), keep, networks.samples(program))
    return {name: module for name, module in program.network.named_modules() if isinstance(module, LowRank)}


@pytest.mark.parametrize("name", FAMILIES)
def test_smaller_and_the_same_after_saving(name: str, tmp_path: Path) -> None:
    build, keep = FAMILIES[name]
    program, dense = build(), build()
    found = factor(program, keep, rank_ratio=0.25)
    assert found
    for path, factors in found.items():
        assert not path.startswith(tuple(keep))
        inner = min(dense.network.get_submodule(path).weight.shape[:2]) // 4  # type: ignore[union-attr,index]
        assert factors[0].weight.shape[0] == factors[1].weight.shape[1] == inner
    assert networks.parameters(program.network) < networks.parameters(dense.network)
    expected = networks.answer(program, program.example)
    engine = plugins.load("bigray.engines", "torch_eager").ENGINE
    engine.export(program, tmp_path)
    reloaded = engine.load(tmp_path, program=build).run(program.example)
    for key, value in expected.items():
        np.testing.assert_array_equal(reloaded[key], value)


@pytest.mark.parametrize(("engine", "name"), [("openvino", "bert"), ("onnxruntime", "speech")])
def test_factored_networks_export(engine: str, name: str, tmp_path: Path) -> None:
    build, keep = FAMILIES[name]
    program = build()
    factor(program, keep, rank_ratio=0.25)
    runtime = plugins.load("bigray.engines", engine).ENGINE
    runtime.export(program, tmp_path)
    inputs = networks.words(3, 20) if name == "bert" else networks.sound(3, 60)
    found = runtime.load(tmp_path).run(inputs)["logits"]
    np.testing.assert_allclose(found, networks.answer(program, inputs)["logits"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("weighted", [True, False])
def test_what_has_a_low_rank_loses_nothing(weighted: bool) -> None:
    program = networks.ffnn()
    hidden: nn.Linear = program.network.hidden  # type: ignore[assignment]
    with torch.no_grad():
        hidden.weight.copy_(torch.randn(64, 6) @ torch.randn(6, 24))
    expected = networks.answer(program, program.example)["logits"]
    factor(program, ["head"], rank_ratio=0.25, weighted=weighted)
    assert program.network.hidden[0].weight.shape == (6, 24)  # type: ignore[index,union-attr]
    np.testing.assert_allclose(networks.answer(program, program.example)["logits"], expected, atol=1e-4)


def test_weighting_spares_the_inputs_that_the_rows_have() -> None:
    errors = {}
    for weighted in (True, False):
        program = networks.ffnn()
        with torch.no_grad():
            program.network.embedding.weight[:, 8:] *= 0.01  # type: ignore[union-attr,operator]
            program.network.hidden.weight[:, 8:] *= 3  # type: ignore[union-attr,operator]
        rows = networks.samples(program).training
        expected = [networks.answer(program, row)["logits"] for row in rows]
        factor(program, ["head"], rank_ratio=0.35, weighted=weighted)
        found = [networks.answer(program, row)["logits"] for row in rows]
        errors[weighted] = np.square(np.array(found) - np.array(expected)).mean()
    assert errors[True] < 0.1 * errors[False]


def test_layers_that_would_not_gain_stay_and_none_at_all_is_an_error() -> None:
    program = networks.encoder("bert", 1)
    # of square layers (32 x 32) rank 24 saves nothing, of the others (32 x 64) neither
    with pytest.raises(ConversionError, match="makes no layer smaller at rank_ratio 0"):
        factor(program, ["classifier"], rank_ratio=0.75)
    found = factor(program, ["classifier"], rank_ratio=0.5)
    assert {path.rpartition(".")[2] for path in found} == {"dense"}
    assert len(found) == 2  # the feed-forward half; half of the rank of a square layer is no gain
    with pytest.raises(ConversionError, match="needs calibration rows"):
        METHOD.prune(networks.ffnn(), Config(rank_ratio=0.2), [], networks.samples(networks.ffnn(), 0))
    with pytest.raises(ConversionError, match="makes no layer smaller"):
        factor(networks.lstm(), ["head"], rank_ratio=0.2)
