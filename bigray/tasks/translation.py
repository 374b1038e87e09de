"""Translation: a text in one language in, the same in another out. One pair of languages per model.

See `_seq2seq` for networks, training and how long texts are read; every sentence is best translated as training showed
them. Wire form: https://huggingface.co/docs/inference-providers/tasks/translation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from bigray import metrics
from bigray.schemas import Translation, Wire
from bigray.tasks._seq2seq import SequenceToSequence
from bigray.tasks.base import Metric, Row


class TranslationTask(SequenceToSequence):
    """See the module's text."""

    name = "translation"
    target = "translation"
    fields: ClassVar[Mapping[str, str]] = {"text": "the text", "translation": "its translation"}
    primary = Metric("bleu")
    defaults: ClassVar[Mapping[str, Any]] = {
        "train": {"batch_size": 64, "label_smoothing": 0.1, "epochs": 15},
        "compress": {"methods": ["quantize_dynamic", "bfloat16"]},
    }

    def merge(self, row: Row, found: Sequence[str], parameters: Wire | None = None) -> Translation:
        """Join the translations of the pieces."""
        return Translation(translation_text=" ".join(text for text in found if text))

    def score(self, answers: Sequence[Translation], rows: Sequence[Row]) -> dict[str, float]:
        """BLEU and chrF of all rows together, as fractions."""
        return metrics.translation([one.translation_text for one in answers], [str(row["translation"]) for row in rows])


TASK = TranslationTask
