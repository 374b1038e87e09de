"""A training checkpoint: weights and optimizer state as safetensors, the rest as JSON. No pickle.

``state.json`` is written last and holds the sha256 of the others, so a checkpoint cut short by a crash is recognised.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bigray.artifact import record, write_atomically
from bigray.errors import ArtifactCorrupt

WEIGHTS, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


def save(directory: Path, network: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
    """Write a checkpoint into an existing, empty directory; ``progress`` is any JSON (epoch, step, history)."""
    save_file({key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()},
              directory / WEIGHTS)  # fmt: skip
    state = optimizer.state_dict()
    tensors, scalars = {}, {}
    for index, slots in state["state"].items():
        for slot, value in slots.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{slot}"] = value.detach().cpu().contiguous().clone()
            else:
                scalars[f"{index}.{slot}"] = value
    save_file(tensors, directory / OPTIMIZER)
    content = {
        "progress": progress,
        "groups": state["param_groups"],
        "scalars": scalars,
        "files": {name: record(directory / name).sha256 for name in (WEIGHTS, OPTIMIZER)},
    }
    write_atomically(directory / STATE, json.dumps(content))


def load(directory: Path, network: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Load what `save` wrote and return its ``progress``.

    Raises:
        ArtifactCorrupt: The checkpoint is incomplete or a file has changed.
    """
    try:
        content = json.loads((directory / STATE).read_text(encoding="utf-8"))
        files = content["files"]
        for name, digest in files.items():
            if record(directory / name).sha256 != digest:
                raise ArtifactCorrupt(f"Checkpoint file {str(directory / name)!r} has changed since it was written.")
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactCorrupt(f"Checkpoint {str(directory)!r} is incomplete: {error}.") from None
    network.load_state_dict(load_file(directory / WEIGHTS))
    if optimizer is not None:
        slots: dict[int, dict[str, Any]] = {}
        for key, value in {**load_file(directory / OPTIMIZER), **content["scalars"]}.items():
            index, slot = key.split(".", 1)
            slots.setdefault(int(index), {})[slot] = value
        optimizer.load_state_dict({"state": slots, "param_groups": content["groups"]})
    progress: dict[str, Any] = content["progress"]
    return progress
