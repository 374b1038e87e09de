"""Quantization-aware training: the network feels 8-bit rounding while recovery trains it, and is then quantized statically.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (arXiv
1712.05877), with Hinton's distillation from the dense model as in every recovery:

1. weights and inputs of linear layers and convolutions are rounded in the forward pass (`bigray.models._fake_quantization`):
   weights symmetric, a scale per output channel; inputs in one range each, learned as a moving average;
2. recovery trains; rounding is passed over in the backward pass;
3. the weights keep their rounded values, and the graph is quantized as `quantize_static` does it: its weight scales are
   those of training, as both come from the largest weight of a channel; its ranges come from calibration rows.

With pruning before it one training wins back what both cost. Take it where quantize_static alone loses too much: narrow
networks, and ``bits`` below 8. These are stored and computed as 8 bits, so they are no faster, and files as they lie on
disk no smaller; a compressor makes less of them: gzip of normally distributed weights takes 0.92 bytes each on the grid
of 8 bits, 0.69 on that of 6 and 0.45 on that of 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from bigray.compress.base import ConversionError, MethodConfig, Samples, knob
from bigray.compress.methods import _static
from bigray.engines.base import Program
from bigray.tasks.base import Task

RECURRENT_SHARE = 0.5
"""Where recurrent layers hold more of the weights than this, most of the network would stay in float32."""


class Config(_static.Config):
    """Knobs of `QuantizeAware`: those of static quantization, and the grid of weights."""

    bits: Literal[8, 6, 4] = knob(8, choices=[8, 6, 4], search=[])
    """Weights take 2^bits - 1 different values per output channel."""


class QuantizeAware(_static.Static):
    """See the module's text."""

    name = "quantize_aware"
    stage = "both"
    needs_recovery = True
    Config: ClassVar[type[MethodConfig]] = Config

    def suits(self, task: Task, engine: str) -> str | None:
        """Return a reason as static quantization does, and for networks that answer step by step."""
        if len(task.graphs) > 1:
            return "this network answers step by step, and trains in one pass; use quantize_static or quantize_dynamic"
        return super().suits(task, engine)

    def prune(self, program: Program, config: Any, keep: Sequence[str], samples: Samples) -> None:
        """Put the rounding on the layers, heads too, as engines quantize them; ranges begin with the calibration rows.

        Raises:
            ConversionError: There is no layer to round, or most weights are in recurrent layers, which stay in float32.
        """
        import torch
        from torch import nn

        from bigray.models import _fake_quantization

        settings = Config.model_validate(config.model_dump())
        network = program.network.eval()
        total = sum(one.numel() for one in network.parameters())
        recurrent = sum(
            one.numel()
            for layer in network.modules()
            if isinstance(layer, nn.RNNBase)
            for one in layer.parameters(recurse=False)
        )
        if recurrent > RECURRENT_SHARE * total:
            raise ConversionError(
                f"quantize_aware leaves recurrent layers in float32, and they hold {recurrent:,} of {total:,} weights; "
                "use quantize_dynamic."
            )
        if not _fake_quantization.put(network, bits=settings.bits, symmetric=settings.preset == "performance"):
            raise ConversionError("quantize_aware found no linear layer and no convolution with weights of its own.")
        with torch.no_grad():
            for batch in samples.batches(self.name):
                program.forward(network, {name: batch[name] for name in program.inputs})

    def finish(self, program: Program, config: Any, keep: Sequence[str]) -> None:
        """Take the rounding away; weights stay on their grid."""
        from bigray.models import _fake_quantization

        _fake_quantization.settle(program.network)


METHOD = QuantizeAware()
