"""Checkpoints: whole or refused, and exact."""

import json

import pytest
import torch
from torch import nn

from bigray.errors import ArtifactCorrupt
from bigray.train import checkpoint


def trained(seed=0):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    step(network, optimizer)
    return network, optimizer


def step(network, optimizer):
    optimizer.zero_grad()
    network(torch.arange(24.0).reshape(6, 4)).square().sum().backward()
    optimizer.step()


def test_going_on_from_a_checkpoint_equals_never_having_stopped(tmp_path):
    network, optimizer = trained()
    checkpoint.save(tmp_path, network, optimizer, {"epochs": 3})
    step(network, optimizer)
    other, other_optimizer = trained(seed=1)
    assert checkpoint.load(tmp_path, other, other_optimizer) == {"epochs": 3}
    step(other, other_optimizer)
    for key, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.OPTIMIZER])
def test_a_changed_byte_is_refused(tmp_path, name):
    network, optimizer = trained()
    checkpoint.save(tmp_path, network, optimizer, {})
    data = bytearray((tmp_path / name).read_bytes())
    data[-1] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ArtifactCorrupt, match=name):
        checkpoint.load(tmp_path, network)


def test_a_checkpoint_cut_short_is_refused(tmp_path):
    network, optimizer = trained()
    checkpoint.save(tmp_path, network, optimizer, {})
    assert json.loads((tmp_path / checkpoint.STATE).read_text())["files"]
    (tmp_path / checkpoint.STATE).unlink()
    with pytest.raises(ArtifactCorrupt, match="incomplete"):
        checkpoint.load(tmp_path, network)
