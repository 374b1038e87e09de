"""Optimizer, learning-rate schedule and number type from a recipe."""

from __future__ import annotations

import functools
import math

import torch
from torch import nn

from bigray import measure
from bigray.recipe import Train

BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


def bfloat16(settings: Train) -> bool:
    """Return whether the forward pass runs in bfloat16; ``auto`` means where this processor computes in it."""
    if settings.precision == "auto":
        return torch.cuda.is_available() or _processor_has_bfloat16()
    return settings.precision == "bfloat16"


@functools.cache
def _processor_has_bfloat16() -> bool:
    return bool(BFLOAT16_FLAGS & set(measure.hardware()["flags"]))


def optimizer(network: nn.Module, settings: Train) -> torch.optim.Optimizer:
    """Return the optimizer over trainable parameters; biases and norms (1-D) are not decayed."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def schedule(optimizer: torch.optim.Optimizer, settings: Train, total_steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Return a per-step schedule: linear warm-up, then the recipe's shape."""
    warmup = max(1, round(settings.warmup * total_steps)) if settings.warmup else 0
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: factor(step, total_steps, warmup, settings.schedule)
    )


def factor(step: int, total: int, warmup: int, shape: str) -> float:
    """Return the learning rate at a step as a fraction of its peak."""
    if step < warmup:
        return (step + 1) / warmup
    if shape == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    if shape == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    if shape == "one_cycle":  # down to 0 linearly over 90 % of the way, then a tail of tiny steps
        return max(0.01, 1.0 - progress / 0.9) if progress < 0.9 else 0.01
    return 1.0 - progress
