"""Networks of transformers in transformers' own form: ``config.json`` beside ``model.safetensors``.

Stock transformers then loads the folder without bigray. A pruned network can be told so when its configuration has words
for its sizes: hidden units of the feed-forward parts, the same number in every layer. It has none for fewer heads than
the width asks for, for layers that differ, or for exchanged modules; then nothing is written.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

CONFIG = "config.json"
WIDTHS = (
    "intermediate_size", "hidden_dim", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "d_inner", "n_inner",
)  # fmt: skip
"""How configurations call the hidden units of a feed-forward part."""

Shapes = dict[str, tuple[int, ...]]


def write(network: nn.Module, directory: Path) -> bool:
    """Write ``config.json`` for a network of transformers; return whether its sizes could be told."""
    config: Any = getattr(network, "config", None)
    if not hasattr(config, "save_pretrained") or not hasattr(type(network), "config_class"):
        return False
    config, own = copy.deepcopy(config), _shapes(network)
    for name, width in _widths(config, _bare(network, config), own).items():
        setattr(config, name, width)
    if _bare(network, config) != own:
        return False
    config.architectures = [type(network).__name__]
    config.save_pretrained(directory)
    return True


def _widths(config: Any, stock: Shapes, own: Shapes) -> dict[str, int]:
    """Return the widths that the configuration would have to say, where all layers agree on one."""
    found: dict[str, set[int]] = {}
    for name in stock.keys() & own.keys():
        if len(stock[name]) != len(own[name]):
            continue
        for old, new in zip(stock[name], own[name], strict=True):
            for width in WIDTHS:
                if old != new and getattr(config, width, None) == old:
                    found.setdefault(width, set()).add(new)
    return {width: news.pop() for width, news in found.items() if len(news) == 1}


def _bare(network: nn.Module, config: Any) -> Shapes:
    """Return the shapes of such a network as transformers would build it; no memory is taken for it."""
    with torch.device("meta"):
        return _shapes(type(network)(copy.deepcopy(config)))


def _shapes(network: nn.Module) -> Shapes:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}
