"""The reference engine's files: weights of networks whose layers changed size, and refusal of foreign ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from bigray.engines.torch_eager import ENGINE
from bigray.errors import ArtifactError
from bigray.models import _weights
from tests import networks


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    network = Tied()
    _weights.save(network, tmp_path)
    assert list(load_file(tmp_path / "model.safetensors")) == ["embedding.weight"]
    again = _weights.load(Tied(), tmp_path)
    assert again.head.weight is again.embedding.weight
    torch.testing.assert_close(again.head.weight, network.head.weight)


def test_smaller_layers_are_rebuilt_from_recorded_sizes(tmp_path: Path) -> None:
    def build(width: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, width, 3),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, width, 3, groups=width),
            nn.GroupNorm(2, width),
        )

    small = build(4).eval()
    _weights.save(small, tmp_path)
    again = _weights.load(build(8), tmp_path).eval()
    assert (again[2].groups, again[2].in_channels, again[3].num_channels) == (4, 4, 4)
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(again(x), small(x), rtol=0, atol=0)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    ENGINE.export(networks.ffnn(), tmp_path)
    with pytest.raises(ArtifactError, match="does not have"):
        ENGINE.load(tmp_path, program=networks.residual)
    with pytest.raises(ValueError, match="program"):
        ENGINE.load(tmp_path)


def test_sizes_may_set_nothing_but_sizes(tmp_path: Path) -> None:
    ENGINE.export(networks.ffnn(), tmp_path)
    path = tmp_path / "sizes.json"
    sizes = json.loads(path.read_text())
    for attribute, value in (("forward", 3), ("in_features", "3"), ("in_features", True)):
        sizes["modules"]["hidden"] = {attribute: value}
        path.write_text(json.dumps(sizes))
        with pytest.raises(ArtifactError, match="no size"):
            ENGINE.load(tmp_path, program=networks.ffnn)
