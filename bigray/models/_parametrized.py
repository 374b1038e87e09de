"""What stands in for a layer's weight while it trains: taken away again, and sent to another process.

`torch.nn.utils.parametrize` gives a parametrized module a class of its own, which no pickle knows.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize


def bake(layer: nn.Module) -> None:
    """Make what a layer's parametrizations return its weight, and remove them; copies of the layer keep theirs.

    Removing takes the weight's property from the class. A deep copy has the same class: without one for itself, it would
    take the weight from the original too.
    """
    kind = type(layer)
    own = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    layer.__class__ = type(kind.__name__, kind.__bases__, own)
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


@dataclass(frozen=True)
class Packed:
    """A network in parts that can be pickled; `open` puts it together again."""

    bare: nn.Module
    covers: dict[str, list[nn.Module]]
    """Layer -> its parametrizations of the weight."""
    state: dict[str, torch.Tensor]

    @classmethod
    def of(cls, network: nn.Module) -> Packed:
        """Take a copy of a network apart."""
        bare, covers = copy.deepcopy(network).cpu(), {}
        for name, layer in list(bare.named_modules()):
            if parametrize.is_parametrized(layer, "weight"):
                covers[name] = list(layer.parametrizations["weight"])
                bake(layer)
        return cls(bare, covers, {name: value.detach().cpu() for name, value in network.state_dict().items()})

    def open(self) -> nn.Module:
        """Return the network; to be called once."""
        for name, chain in self.covers.items():
            for one in chain:
                parametrize.register_parametrization(self.bare.get_submodule(name), "weight", one)
        self.bare.load_state_dict(self.state)
        return self.bare
