"""Removing hidden units of LSTM and GRU layers, in the form that Torch-Pruning calls.

A hidden unit owns one row per gate in weight_ih, weight_hh and the biases, and one column in weight_hh; in stacked
layers also one column of the next layer's weight_ih. All layers of a stack shrink alike, as torch gives them one size.
(Torch-Pruning 1.6 brings a pruner of its own for LSTM, which mixes up the gates.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch_pruning.pruner.function import BasePruningFunc


class HiddenUnits(BasePruningFunc):  # type: ignore[misc]  # an untyped library
    """Narrow one-directional recurrent layers."""

    def prune_out_channels(self, layer: nn.RNNBase, idxs: Sequence[int]) -> nn.RNNBase:
        """Remove hidden units ``idxs``."""
        size = layer.hidden_size
        gates = 4 if isinstance(layer, nn.LSTM) else 3
        gone = set(idxs)
        columns = torch.tensor([index for index in range(size) if index not in gone])
        rows = torch.cat([columns + gate * size for gate in range(gates)])
        for number in range(layer.num_layers):
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                parameter = getattr(layer, f"{kind}_l{number}", None)
                if parameter is None:
                    continue
                value = parameter.data[rows]
                if kind == "weight_hh" or (kind == "weight_ih" and number):
                    value = value[:, columns]
                parameter.data = value.contiguous()
        layer.hidden_size = len(columns)
        layer.flatten_parameters()
        return layer

    def prune_in_channels(self, layer: nn.RNNBase, idxs: Sequence[int]) -> nn.RNNBase:
        """Remove inputs ``idxs``."""
        gone = set(idxs)
        columns = [index for index in range(layer.input_size) if index not in gone]
        weight: torch.Tensor = layer.weight_ih_l0  # type: ignore[assignment]
        weight.data = weight.data[:, columns].contiguous()
        layer.input_size = len(columns)
        layer.flatten_parameters()
        return layer

    def get_out_channels(self, layer: nn.RNNBase) -> int:
        """Return the number of hidden units."""
        return layer.hidden_size

    def get_in_channels(self, layer: nn.RNNBase) -> int:
        """Return the number of inputs."""
        return layer.input_size


def strength(layer: nn.RNNBase) -> torch.Tensor:
    """Score hidden units by the squares of their rows, over all gates and layers, divided by the mean: (hidden,)."""
    total = torch.zeros(layer.hidden_size)
    for name, parameter in layer.named_parameters():
        if name.startswith("weight"):
            total += parameter.data.pow(2).sum(1).view(-1, layer.hidden_size).sum(0)
    return total / total.mean()
