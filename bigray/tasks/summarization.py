"""Summarization: a long text in, a short one with what matters out.

With an encoder-decoder of transformers (T5, BART) or bigray's own ``transformer``, in words of its own: see `_seq2seq`. A
text longer than the window is summarized piece by piece, and the summaries follow one another. With an encoder of
transformers (BERT, MiniLM), in the text's own best sentences: see `_extract`. Good summaries of open domains in own words
need a pretrained encoder-decoder. Wire form:
https://huggingface.co/docs/inference-providers/tasks/summarization.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from bigray import metrics
from bigray.recipe import Data, Model
from bigray.schemas import Summary, Wire
from bigray.tasks._extract import Extractive
from bigray.tasks._seq2seq import INPUT, SequenceToSequence
from bigray.tasks.base import Metric, Row


class Summarization(SequenceToSequence):
    """See the module's text."""

    name = "summarization"
    target = "summary"
    fields: ClassVar[Mapping[str, str]] = {"text": "the text", "summary": "its summary"}
    primary = Metric("rouge_1")
    own: ClassVar[Mapping[str, Any]] = {**INPUT, "max_source": 512, "no_repeat": 3}
    defaults: ClassVar[Mapping[str, Any]] = {
        "train": {"batch_size": 16, "label_smoothing": 0.1, "epochs": 10},
        "compress": {"methods": ["quantize_dynamic", "bfloat16"]},
    }

    @classmethod
    def prepare(cls, data: Data, model: Model, rows: Sequence[Row]) -> Self:
        """Prepare to write summaries, or, with a network that has no decoder, to pick sentences."""
        if model.source == "transformers" and model.name != "auto":
            from bigray.models import pretrained

            if not pretrained.configuration(model.name).get("is_encoder_decoder"):
                return Extractive.prepare(data, model, rows)  # type: ignore[return-value]  # the same task otherwise
        return super().prepare(data, model, rows)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read back what was saved, of either kind."""
        if "sentences" in json.loads((directory / "task.json").read_text(encoding="utf-8")):
            return Extractive.load(directory)  # type: ignore[return-value]
        return super().load(directory)

    def merge(self, row: Row, found: Sequence[str], parameters: Wire | None = None) -> Summary:
        """Let the summaries of the pieces follow one another."""
        return Summary(summary_text=" ".join(text for text in found if text))

    def score(self, answers: Sequence[Summary], rows: Sequence[Row]) -> dict[str, float]:
        """ROUGE-1, ROUGE-2 and ROUGE-L: F measures, means over rows."""
        return metrics.summarization([one.summary_text for one in answers], [str(row["summary"]) for row in rows])


TASK = Summarization
