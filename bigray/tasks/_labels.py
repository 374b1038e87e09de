"""What the classification tasks share: label names, targets, and scores of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from bigray.errors import DataError
from bigray.schemas import ClassificationParameters, Label
from bigray.tasks.base import Row

MAX_LABELS = 10_000


def check_labels(given: Sequence[str] | None, rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the label names: those given, or the sorted ones of the rows.

    Raises:
        DataError: Fewer than two labels, too many, or rows with a label that was not given.
    """
    counts = Counter(str(row["label"]) for row in rows)
    labels = tuple(given) if given else tuple(sorted(counts))
    if len(set(labels)) != len(labels):
        raise DataError("data.labels names a label twice.")
    if len(labels) < 2:
        raise DataError(f"Classification needs at least two labels; the training rows have {sorted(counts)}.")
    if len(labels) > MAX_LABELS:
        raise DataError(
            f"The training rows have {len(labels)} different labels (at most {MAX_LABELS}): is the label column right?"
        )
    if unknown := sorted(set(counts) - set(labels)):
        raise DataError(f"Training rows have the label {unknown[0]!r}, which is not in data.labels: {list(labels)}.")
    return labels


def targets(rows: Sequence[Row], labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Return ``target`` (N,) int64 when every row has a known label, else nothing."""
    index = {label: number for number, label in enumerate(labels)}
    found = [index.get(str(row["label"])) if "label" in row else None for row in rows]
    return {} if None in found else {"target": np.array(found, dtype=np.int64)}


def label_scores(
    logits: np.ndarray, labels: Sequence[str], wanted: ClassificationParameters, top_k: int | None
) -> list[list[Label]]:
    """Turn logits (N, C) into labels with scores, best first; ties go to the label that comes first."""
    scores = _activate(np.asarray(logits, dtype=np.float64), wanted.function_to_apply or "softmax")
    return _ranked(scores, labels, wanted.top_k or top_k)


def mean_label_scores(logits: np.ndarray, labels: Sequence[str], wanted: ClassificationParameters) -> list[Label]:
    """Turn the logits of one input's windows (W, C) into labels whose scores are means over the windows, best first."""
    scores = _activate(np.asarray(logits, dtype=np.float64), wanted.function_to_apply or "softmax")
    return _ranked(scores.mean(0, keepdims=True), labels, wanted.top_k)[0]


def _ranked(scores: np.ndarray, labels: Sequence[str], top_k: int | None) -> list[list[Label]]:
    order = np.argsort(-scores, axis=-1, kind="stable")[:, : top_k or len(labels)]
    return [
        [Label(label=labels[k], score=float(row[k])) for k in best] for row, best in zip(scores, order, strict=True)
    ]


def _activate(logits: np.ndarray, function: str) -> np.ndarray:
    if function == "none":
        return logits
    if function == "sigmoid":
        return np.asarray(1.0 / (1.0 + np.exp(-logits)))
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
