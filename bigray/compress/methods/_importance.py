"""What channels are worth, measured on calibration rows, in the place where Torch-Pruning looks: the weights.

Torch-Pruning scores a group of coupled layers by their weights. So that every kind of importance goes through the same
coupling, the weights are exchanged for scores of their shape while groups are scored:

``magnitude``    the weights themselves;
``taylor``       |weight x gradient of the task's loss|, the mean over batches, which estimates by how much the loss would
                 rise without that weight (Molchanov et al. 2019, arXiv 1906.10771, equation 8, by absolute value);
``activation``   the mean absolute output of a layer's channel, the same for all weights that make it (Molchanov et al.
                 2017, arXiv 1611.06440, section 2.2). Seen from the next layer it is a constant, which ranks nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from bigray.compress.base import Samples
from bigray.engines.base import Program

CHANNELS_SECOND = (_ConvNd, nn.modules.batchnorm._BatchNorm, nn.GroupNorm)
"""Layers whose output holds its channels in axis 1; in all others they are the last."""


@contextmanager
def in_place_of_weights(program: Program, kind: str, samples: Samples) -> Iterator[None]:
    """Exchange the weights of ``program.network`` for their scores, and give them back afterwards.

    Raises:
        ConversionError: There are no calibration rows, and ``kind`` needs some.
    """
    if kind == "magnitude":
        yield
        return
    measure = {"taylor": _taylor, "activation": _activation}[kind]
    scores = measure(program, samples)
    weights = {name: parameter.data for name, parameter in program.network.named_parameters()}
    try:
        for name, parameter in program.network.named_parameters():
            parameter.data = scores.get(name, torch.zeros_like(parameter))
        yield
    finally:
        for name, parameter in program.network.named_parameters():
            parameter.data = weights[name]


def _taylor(program: Program, samples: Samples) -> dict[str, torch.Tensor]:
    network, total, count = program.network, dict[str, torch.Tensor](), 0
    # some networks give what the loss looks at in training only; the layers in them stay as they answer
    mode, network.training = network.training, True
    try:
        for batch in samples.batches("importance taylor"):
            network.zero_grad(set_to_none=True)
            outputs = program.forward(network, {name: batch[name] for name in program.inputs})
            samples.task.loss(outputs, batch).backward()  # type: ignore[no-untyped-call]
            count += 1
            for name, parameter in network.named_parameters():
                if parameter.grad is not None:
                    # the absolute value of each batch: at the end of training the gradients of all rows add up to nothing
                    value = (parameter.detach() * parameter.grad).abs()
                    total[name] = total[name] + value if name in total else value
    finally:
        network.training = mode
    network.zero_grad(set_to_none=True)
    # the square root, as Torch-Pruning squares what it takes for weights
    return {name: (value / count).sqrt() for name, value in total.items()}


def _activation(program: Program, samples: Samples) -> dict[str, torch.Tensor]:
    network, means, calls = program.network, dict[str, torch.Tensor](), dict[str, int]()
    handles = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            value = (output[0] if isinstance(output, tuple) else output).detach().abs()
            axis = 1 if isinstance(module, CHANNELS_SECOND) else value.dim() - 1
            mean = value.mean([other for other in range(value.dim()) if other != axis])
            means[name] = means[name] + mean if name in means else mean
            calls[name] = calls.get(name, 0) + 1

        return hook

    for name, module in network.named_modules():
        if isinstance(module, (*CHANNELS_SECOND, nn.Linear, nn.LSTM, nn.GRU)):
            handles.append(module.register_forward_hook(watch(name)))
    try:
        with torch.no_grad():
            for batch in samples.batches("importance activation"):
                program.forward(network, {name: batch[name] for name in program.inputs})
    finally:
        for handle in handles:
            handle.remove()
    scores = {}
    for path, mean in means.items():
        module = network.get_submodule(path)
        for leaf, parameter in module.named_parameters(recurse=False):
            transposed = bool(getattr(module, "transposed", False)) and leaf == "weight"
            axis = 1 if transposed else 0
            # one row per output; of recurrent layers one per gate and hidden unit
            rows = mean.repeat(parameter.shape[axis] // len(mean)) / calls[path]
            shape = [-1 if dim == axis else 1 for dim in range(parameter.dim())]
            row_size = parameter.numel() // parameter.shape[axis]
            scores[f"{path}.{leaf}"] = (rows / row_size).sqrt().view(shape).expand_as(parameter).contiguous()
    return scores
