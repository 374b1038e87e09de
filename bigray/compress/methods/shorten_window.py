"""A shorter window: who hears every recording filled up with silence to one length hears less silence.

Whisper's encoder works on 30 s, whatever is said in them: of a command of 3 s, nine tenths of its work is silence, and its
attention takes the square of the length. whisper.cpp calls the same ``audio_ctx``
(https://github.com/ggml-org/whisper.cpp/issues/137).

1. keep the first positions of the encoder, a share of all, in eights, as kernels like it;
2. the task fills recordings up to the shorter window then, hears longer ones in more windows (`bigray.tasks._recordings`),
   and writes that much less about each, which ends what would go round in circles.

Positions keep their meaning. The network has learned to end in silence, though, and in windows shorter than some 10 s
Whisper makes words up unless it is trained on them (https://github.com/ggml-org/whisper.cpp/issues/1951); recordings longer
than the window are not trained on. It is faster for recordings that the new window holds, and measured on those of about
median length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from bigray.compress.base import ConversionError, Method, MethodConfig, Samples, knob
from bigray.engines.base import Program
from bigray.tasks.base import Task

MULTIPLE = 8
"""The number of positions is one of this."""


class Config(MethodConfig):
    """Knobs of `ShortenWindow`."""

    share: float = knob(0.5, low=0.05, high=1.0, search=(0.25, 0.5))
    """Length of the new window over that of the old one."""


class ShortenWindow(Method):
    """See the module's text."""

    name = "shorten_window"
    stage = "network"
    rank = -1
    needs_recovery = True
    Config: ClassVar[type[MethodConfig]] = Config

    def suits(self, task: Task, engine: str) -> str | None:
        """Return a reason for tasks whose short inputs are short arrays."""
        if task.positions is None:
            return "its inputs are not filled up to a window of one length: short ones take less time already"
        return None

    def adapt(self, task: Task, config: Any) -> Task:
        """Return the task with the shorter window."""
        return task if task.positions is None else task.with_positions(_left(task.positions, config.share))

    def prune(self, program: Program, config: Any, keep: Sequence[str], samples: Samples) -> None:
        """Keep the first positions of the encoder.

        Raises:
            ConversionError: The network has no vectors for positions, or would keep them all.
        """
        import torch

        network: Any = program.network.cpu().eval()
        encoder: Any = network.get_encoder() if hasattr(network, "get_encoder") else None
        vectors = getattr(encoder, "embed_positions", None)
        if not isinstance(vectors, torch.nn.Embedding) or samples.task.positions != vectors.num_embeddings:
            raise ConversionError("shorten_window needs an encoder with a vector for each of its positions.")
        left = _left(vectors.num_embeddings, config.share)
        if left == vectors.num_embeddings:
            raise ConversionError(f"shorten_window keeps all {left} positions at share {config.share:g}. Lower share.")
        vectors.weight.data = vectors.weight.data[:left].clone()
        vectors.num_embeddings = left
        for module in (network, encoder):
            module.config.max_source_positions = left
        encoder.max_source_positions = left


def _left(positions: int, share: float) -> int:
    """Return the number of positions to keep."""
    return positions if share == 1 else min(positions, max(1, round(share * positions / MULTIPLE)) * MULTIPLE)


METHOD = ShortenWindow()
