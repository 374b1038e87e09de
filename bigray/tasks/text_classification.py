"""Text classification: a text in, a score for each label out.

Networks: any transformers sequence classifier by hub name, package or local folder, or bigray's own ``ffnn``, ``rnn``
and ``cnn`` over a vocabulary learned from the training texts. A text longer than the network's window is read in windows
that overlap by a quarter, and its scores are the mean over them; training picks one of them at random. Wire form:
https://huggingface.co/docs/inference-providers/tasks/text-classification.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from bigray import metrics
from bigray.models.base import Architecture, own_options
from bigray.recipe import Data, Model
from bigray.schemas import ClassificationParameters, Label, Wire
from bigray.tasks import base
from bigray.tasks._labels import check_labels, mean_label_scores, targets
from bigray.tasks._text import (
    TokenTask,
    check_text,
    pad,
    plain,
    token_ids,
    train_tokenizer,
    vocabulary,
    windows,
)
from bigray.tasks.base import Batch, Metric, Row, Vocabulary

if TYPE_CHECKING:
    import torch
    from torch import nn


class TextClassification(TokenTask):
    """See the module's text. Targets: ``target`` (N,) int64, the index of the label."""

    name = "text_classification"
    fields: ClassVar[Mapping[str, str]] = {"text": "the text", "label": "its class"}
    primary = Metric("accuracy")
    inputs = ("input_ids", "attention_mask")
    outputs = ("logits",)
    dynamic: ClassVar[Mapping[str, Mapping[int, str]]] = {
        "input_ids": {0: "batch", 1: "length"},
        "attention_mask": {0: "batch", 1: "length"},
    }
    defaults: ClassVar[Mapping[str, Any]] = {"train": {"batch_size": 32}}

    class State(base.State):
        """Labels and token limits."""

        labels: tuple[str, ...]
        max_length: int = Field(128, ge=8, le=100_000)
        """Tokens of one window."""
        pad_id: int = 0
        transformer: bool = False
        """Whether the network is one: quantizers treat attention with care."""

    state: State

    @property
    def model_type(self) -> str | None:  # type: ignore[override]
        """``transformer`` for pretrained encoders."""
        return "transformer" if self.state.transformer else None

    @classmethod
    def prepare(cls, data: Data, model: Model, rows: Sequence[Row]) -> Self:
        """Learn the labels; take the pretrained tokenizer or learn one from the texts."""
        labels = check_labels(data.labels, rows)
        own = own_options(model.input, {"max_length": 128, "vocabulary_size": 8000}, "model.input")
        if model.source != "transformers":
            tokenizer = train_tokenizer((row["text"] for row in rows), own["vocabulary_size"])
            return cls(cls.State(labels=labels, max_length=own["max_length"]), plain(tokenizer))
        from bigray.models import pretrained

        tokenizer, pad_id = pretrained.tokenizer(model.name)
        limit = pretrained.longest_input(model.name) or own["max_length"]
        state = cls.State(labels=labels, max_length=min(own["max_length"], limit), pad_id=pad_id, transformer=True)
        return cls(state, plain(tokenizer))

    def architecture(self, model: Model) -> Architecture:
        """A sequence classifier of transformers, or one of bigray's own networks over the learned vocabulary."""
        if model.source == "transformers":
            from bigray.models import pretrained

            return pretrained.classifier("AutoModelForSequenceClassification", model, self.state.labels)
        from bigray.models.base import own_architecture

        dims = {
            "kind": "text",
            "vocabulary": self.tokenizer.get_vocab_size(),
            "classes": len(self.state.labels),
        }
        return own_architecture(model, dims, default="cnn", known=("ffnn", "rnn", "cnn"), task=self.name)

    def split(self, row: Row, parameters: Wire | None = None) -> Iterator[Row]:
        """Yield the windows of a text: rows that hold their ``tokens``, without the text."""
        for window in self._windows(row):
            yield {"tokens": window}

    def encode(self, rows: Sequence[Row]) -> Batch:
        """Return ``input_ids`` and ``attention_mask``, (N, T) int64; of a text that was not split, one window."""
        pieces = [row["tokens"] if "tokens" in row else self._drawn(row) for row in rows]
        framed = [[*self._frame.before, *piece, *self._frame.after] for piece in pieces]
        return pad(framed, self.state.pad_id, self.state.max_length) | targets(rows, self.state.labels)

    def forward(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``logits`` (N, C)."""
        output = network(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        return {"logits": output.logits if hasattr(output, "logits") else output}

    def loss(
        self, outputs: Mapping[str, torch.Tensor], batch: Mapping[str, torch.Tensor], smoothing: float = 0.0
    ) -> torch.Tensor:
        """Cross-entropy."""
        from torch.nn import functional

        return functional.cross_entropy(outputs["logits"], batch["target"], label_smoothing=smoothing)

    def decode(self, outputs: Batch, batch: Batch, parameters: Wire | None = None) -> list[np.ndarray]:
        """Return each window's logits (C,)."""
        return list(outputs["logits"])

    def merge(self, row: Row, found: Sequence[np.ndarray], parameters: Wire | None = None) -> list[Label]:
        """Return a text's labels, best first: scores are means over its windows."""
        wanted = parameters if isinstance(parameters, ClassificationParameters) else ClassificationParameters()
        return mean_label_scores(np.stack(found), self.state.labels, wanted)

    def score(self, answers: Sequence[list[Label]], rows: Sequence[Row]) -> dict[str, float]:
        """Accuracy and macro F1."""
        return metrics.classification([answer[0].label for answer in answers], [row["label"] for row in rows])

    def example(self, count: int, size: int | None = None) -> list[Row]:
        """Texts of ``size`` words (by default 24)."""
        words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "it", "rains"]
        length = size or 24
        return [{"text": " ".join(words[(start + i) % len(words)] for i in range(length))} for start in range(count)]

    def keep(self, network: nn.Module) -> list[str]:
        """The layer that makes the logits."""
        return [
            name for name, _ in network.named_modules() if name.split(".")[-1] in {"classifier", "head", "out_proj"}
        ]

    def vocabulary(self) -> Vocabulary:
        """The tokenizer's ids."""
        return vocabulary(self.tokenizer, self.state.pad_id)

    def _windows(self, row: Row) -> Iterator[list[int]]:
        ids = token_ids(self.tokenizer, check_text(row["text"]))
        room = self.state.max_length - self._frame.width
        for start, stop in windows(len(ids), room, room // 4):
            yield ids[start:stop]

    def _drawn(self, row: Row) -> list[int]:
        # all windows of a training text share its label; without `draw` (timing, calibration) the first one stands for all
        found = list(self._windows(row))
        return found[int(row.get("draw", 0.0) * len(found))]


TASK = TextClassification
