"""Learning-rate schedules."""

import pytest
import torch
from torch import nn

from bigray.recipe import Train
from bigray.train import optim


@pytest.mark.parametrize("shape", ["linear", "cosine", "one_cycle"])
def test_schedule_rises_then_falls_to_almost_nothing(shape):
    values = [optim.factor(step, 100, 10, shape) for step in range(100)]
    assert values[:10] == sorted(values[:10])
    assert max(values) == values[9] == 1.0
    assert values[10:] == sorted(values[10:], reverse=True)
    assert values[-1] <= 0.02


def test_constant_stays():
    assert {optim.factor(step, 50, 0, "constant") for step in range(50)} == {1.0}


def test_norms_and_biases_are_not_decayed_and_frozen_weights_are_left_out():
    network = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 1))
    network[0].weight.requires_grad = False
    groups = optim.optimizer(network, Train(weight_decay=0.1)).param_groups
    decayed = [group for group in groups if group["weight_decay"] == 0.1]
    assert [list(p.shape) for p in decayed[0]["params"]] == [[1, 3]]
    assert all(p.ndim == 1 for group in groups if group["weight_decay"] == 0 for p in group["params"])


def test_scheduler_steps_an_optimizer():
    optimizer = optim.optimizer(nn.Linear(2, 2), Train(learning_rate=0.5))
    scheduler = optim.schedule(optimizer, Train(learning_rate=0.5, schedule="linear", warmup=0), 10)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == 0.5
    assert torch.tensor(rates).diff().max() < 0
