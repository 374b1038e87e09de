"""Weights of a network on disk, also of one whose layers were made smaller: safetensors plus the sizes, no pickle.

::

    model.safetensors   every parameter and persistent buffer, each stored once
    sizes.json          modules:  module -> attribute -> size, e.g. {"fc1": {"in_features": 64, "out_features": 40}}
                        aliases:  name -> name of the stored tensor that it shares memory with (tied weights)
                        replaced: module -> what stands in its place, e.g. {"encoder.layer.5": {"kind": "skip"}}
    config.json         of a network of transformers, where it can tell the sizes (`bigray.models._stock`)

Pruning changes the shapes of tensors and the attributes of modules that repeat them, and exchanges modules. `load` takes
a network as its builder made it, exchanges what is recorded as such, gives every module the recorded sizes and every
tensor the stored values, and so needs no code of the method that pruned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bigray.errors import ArtifactError
from bigray.models import _replacements, _stock

WEIGHTS, SIZES = "model.safetensors", "sizes.json"
ATTRIBUTES = frozenset(
    {
        "in_features", "out_features", "in_channels", "out_channels", "groups", "num_features", "num_channels",
        "num_groups", "normalized_shape", "num_embeddings", "embedding_dim", "input_size", "hidden_size", "proj_size",
        "num_parameters", "num_heads", "num_attention_heads", "n_heads", "heads", "attention_head_size", "all_head_size", "embed_dim",
        "head_dim", "kdim", "vdim", "dim", "max_source_positions",
    }
)  # fmt: skip
"""Attributes of torch and transformers modules that hold a size. `load` sets these and no others."""
CONFIGURED = frozenset({"max_source_positions"})
"""Those that modules of transformers look up in their configuration each time."""


def save(network: nn.Module, directory: Path) -> None:
    """Write the weights and sizes of a network into an existing directory."""
    tensors: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[tuple[int, tuple[int, ...], tuple[int, ...]], str] = {}
    for name, value in network.state_dict().items():
        key = (value.data_ptr(), tuple(value.shape), tuple(value.stride()))
        if value.numel() and key in seen:
            aliases[name] = seen[key]
            continue
        seen[key] = name
        # clone: two views of one storage (not the same view) are stored in full, as safetensors refuses shared memory
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})  # transformers wants it said
    sizes = {"modules": {name: found for name, module in network.named_modules() if (found := _sizes(module))}}
    replaced = {"replaced": _replacements.describe(network)}
    text = json.dumps({**sizes, "aliases": aliases, **replaced}, indent=1, sort_keys=True)
    (directory / SIZES).write_text(text, encoding="utf-8")
    _stock.write(network, directory)


def load(network: nn.Module, directory: Path) -> nn.Module:
    """Give a freshly built network the sizes and weights that `save` wrote, in place; return it.

    Raises:
        ArtifactError: The files do not belong to this network.
    """
    stored: dict[str, torch.Tensor] = load_file(directory / WEIGHTS)
    sizes = json.loads((directory / SIZES).read_text(encoding="utf-8"))
    _replacements.rebuild(network, sizes.get("replaced", {}))
    modules = dict(network.named_modules())
    for name, values in sizes["modules"].items():
        if name not in modules:
            raise ArtifactError(f"{str(directory)!r} holds a module {name!r}, which this network does not have.")
        _resize(modules[name], values)
    aliases: Mapping[str, str] = sizes["aliases"]
    expected, found = set(network.state_dict()), set(stored) | set(aliases)
    if odd := sorted(expected ^ found):
        where = "lack" if odd[0] in expected else "hold"
        raise ArtifactError(
            f"The weights in {str(directory)!r} are not those of this network: they {where} {odd[0]!r} "
            f"({len(odd)} tensors differ in name)."
        )
    for name in sorted(found):
        value = stored[aliases.get(name, name)]
        path, _, leaf = name.rpartition(".")
        _assign(modules[path], leaf, value)
    return network


def halve(directory: Path) -> int:
    """Store every matrix and kernel of 32 bits in bfloat16; return how many there were."""
    stored: dict[str, torch.Tensor] = load_file(directory / WEIGHTS)
    wide = [name for name, value in stored.items() if value.dtype == torch.float32 and value.dim() > 1]
    save_file(
        {**stored, **{name: stored[name].bfloat16() for name in wide}}, directory / WEIGHTS, metadata={"format": "pt"}
    )
    return len(wide)


def types(directory: Path) -> set[torch.dtype]:
    """Return the types of the tensors that `save` wrote."""
    return {value.dtype for value in load_file(directory / WEIGHTS).values()}


def _sizes(module: nn.Module) -> dict[str, Any]:
    held = {name: value for name in ATTRIBUTES if _is_size(value := module.__dict__.get(name))}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in held.items()}


def _is_size(value: Any) -> bool:
    whole = value if isinstance(value, tuple) else (value,)
    return bool(whole) and all(isinstance(part, int) and not isinstance(part, bool) for part in whole)


def _resize(module: nn.Module, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        size = tuple(value) if isinstance(value, list) else value
        if name not in ATTRIBUTES or not _is_size(size):
            raise ArtifactError(f"{SIZES} sets {name!r} to {value!r}, which is no size of a module.")
        if module.__dict__.get(name) != size:
            setattr(module, name, size)
            if name in CONFIGURED and hasattr(getattr(module, "config", None), name):
                setattr(module.config, name, size)


def _assign(module: nn.Module, name: str, value: torch.Tensor) -> None:
    old = getattr(module, name)
    if old.shape == value.shape:
        with torch.no_grad():
            old.copy_(value)  # keeps the memory layout, which matters for speed (channels_last)
        return
    if old.dim() == 4 and not old.is_contiguous() and old.is_contiguous(memory_format=torch.channels_last):
        value = value.contiguous(memory_format=torch.channels_last)
    old.data = value.to(old.dtype)  # not a new Parameter: tied modules and RNNs keep referring to this one
