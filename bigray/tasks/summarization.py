"""Summarization: a long text in, a short one with what matters out, in words of its own.

See `_seq2seq` for networks and training. A text longer than the window is summarized piece by piece, and the summaries
follow one another. Good summaries of open domains need a pretrained network (T5, BART); bigray's own, trained from
nothing, is for narrow ones. Wire form: https://huggingface.co/docs/inference-providers/tasks/summarization.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from bigray import metrics
from bigray.schemas import Summary, Wire
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

    def merge(self, row: Row, found: Sequence[str], parameters: Wire | None = None) -> Summary:
        """Let the summaries of the pieces follow one another."""
        return Summary(summary_text=" ".join(text for text in found if text))

    def score(self, answers: Sequence[Summary], rows: Sequence[Row]) -> dict[str, float]:
        """ROUGE-1, ROUGE-2 and ROUGE-L: F measures, means over rows."""
        return metrics.summarization([one.summary_text for one in answers], [str(row["summary"]) for row in rows])


TASK = Summarization
