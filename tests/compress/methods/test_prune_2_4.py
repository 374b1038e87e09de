"""The 2:4 pattern is what it should be, and the method says why it is not to be had without a GPU."""

from __future__ import annotations

import pytest
import torch

from bigray.compress.base import ConversionError
from bigray.compress.methods.prune_2_4 import METHOD, Config
from tests import networks


def test_two_of_four_are_zero_and_they_are_the_smallest() -> None:
    program, dense = networks.bert(), networks.bert()
    METHOD.prune(program, Config(), ["classifier"], networks.samples(program))
    METHOD.finish(program, Config(), ["classifier"])
    path = "bert.encoder.layer.0.output.dense"
    old, new = (one.network.get_submodule(path).weight.reshape(-1, 4) for one in (dense, program))  # type: ignore[union-attr,operator]
    assert ((new == 0).sum(1) == 2).all()
    assert torch.equal(new[new != 0], old[new != 0])
    assert (old.abs().masked_fill(new != 0, 0).amax(1) <= old.abs().masked_fill(new == 0, 9).amin(1)).all()
    assert (program.network.classifier.weight != 0).all()  # type: ignore[union-attr]
    untouched = "bert.encoder.layer.0.intermediate.dense"  # 32 inputs: too few for the kernels
    assert (program.network.get_submodule(untouched).weight != 0).all()  # type: ignore[union-attr,operator]


def test_a_lost_pattern_and_no_layer_are_errors() -> None:
    program = networks.bert()
    METHOD.prune(program, Config(), ["classifier"], networks.samples(program))
    METHOD.finish(program, Config(), ["classifier"])
    with torch.no_grad():
        program.network.bert.encoder.layer[1].output.dense.weight += 1  # type: ignore[union-attr,operator,index]
    with pytest.raises(ConversionError, match="fewer than two zeros"):
        METHOD.finish(program, Config(), ["classifier"])
    with pytest.raises(ConversionError, match="no linear layer"):
        METHOD.prune(networks.residual(), Config(), ["head"], networks.samples(networks.residual()))


def test_it_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA device" in (METHOD.available() or "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert "capability 7.5" in (METHOD.available() or "")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    assert METHOD.available() is None
    assert METHOD.suits(networks.task(), "torch_gpu") is None
    assert "CPU" in (METHOD.suits(networks.task(), "openvino") or "")
