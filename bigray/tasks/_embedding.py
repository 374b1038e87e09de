"""What speaker and face recognition share: training by classes, answering by cosine, and scoring by pairs.

A network turns a row into a vector, the embedding. In training each identity has a vector of its own too (the layer
``classes`` of the network), and an additive-margin softmax over their cosines pulls embeddings towards their identity's
vector and away from the others' (AM-softmax, arXiv 1801.05599; the same as CosFace, arXiv 1801.09414)::

    logit_k = SCALE * (cos(embedding, class_k) - MARGIN * [k is the truth])

Afterwards the classes are of no use: two embeddings belong to one person when their cosine reaches a threshold. So
`forward` returns ``logits`` while the network trains and the embedding alone when it is evaluated or exported, and
quality is measured on people who were not in training: every two rows are a pair, of the same person or of two.

A row may be cut into windows; the array ``row`` says to which row each belongs, and a row's embedding is the mean of
those of its windows. Sizes: N rows, W windows, D numbers in an embedding, C identities of training.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bigray import metrics
from bigray.errors import DataError, InvalidInput
from bigray.schemas import Label, Recognition, RecognitionParameters, Wire
from bigray.tasks import base
from bigray.tasks.base import Batch, Metric, Row

if TYPE_CHECKING:
    import torch
    from torch import nn

SCALE = 30.0
"""Factor on cosines before the softmax; about 30 in both papers, too small a value cannot reach a low loss."""
MARGIN = 0.2
RATES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""False-accept rates that thresholds are kept for, where there are validation pairs enough to measure them."""
DEFAULT_RATE = 0.01
TOP_K = 5
MAX_SCORED = 1500
"""Rows scored at most, over a million pairs; identities beyond are left out whole."""
DIGITS = 6
"""Decimals of numbers in an answer: finer than the engines agree."""


class EmbeddingState(base.State):
    """Who was in training, and which cosine decides."""

    identities: tuple[str, ...]
    """People of the training rows, in the order of the network's ``classes``; only training needs them."""
    thresholds: tuple[tuple[float, float], ...] = ()
    """(false-accept rate, cosine): measured on validation rows once the network was trained."""


class EmbeddingTask(base.Task):
    """See the module's text. Targets: ``target`` (W,) int64, the index of the identity."""

    primary = Metric("eer", higher_is_better=False)
    outputs = ("vector",)  # not "embedding": exporters give that name to lookups within a network
    settles = True
    truth: ClassVar[str]
    """The field that says who it is."""
    state: EmbeddingState

    @classmethod
    def known_identities(cls, rows: Sequence[Row]) -> tuple[str, ...]:
        """Return the sorted identities of training rows.

        Raises:
            DataError: Fewer than two.
        """
        counts = Counter(str(row[cls.truth]) for row in rows)
        if len(counts) < 2:
            raise DataError(f"The training rows have {len(counts)} different {cls.truth}; at least two are needed.")
        return tuple(sorted(counts))

    def targets(self, rows: Sequence[Row]) -> Batch:
        """Return ``target`` (N,) int64 when every row is of an identity of training, else nothing."""
        index = {name: number for number, name in enumerate(self.state.identities)}
        found = [index.get(str(row.get(self.truth))) for row in rows]
        return {} if None in found else {"target": np.array(found, dtype=np.int64)}

    def loss(
        self, outputs: Mapping[str, torch.Tensor], batch: Mapping[str, torch.Tensor], smoothing: float = 0.0
    ) -> torch.Tensor:
        """Additive-margin softmax."""
        from torch.nn import functional

        logits, target = outputs["logits"], batch["target"]
        margin = SCALE * MARGIN * functional.one_hot(target, logits.shape[1])
        return functional.cross_entropy(logits - margin, target, label_smoothing=smoothing)

    def distance(
        self,
        outputs: Mapping[str, torch.Tensor],
        taught: Mapping[str, torch.Tensor],
        batch: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """1 - cosine to the teacher's embeddings, in the loss's units: old galleries then fit the new network."""
        from torch.nn import functional

        return SCALE * (1.0 - functional.cosine_similarity(outputs["vector"], taught["vector"])).mean()

    def decode(self, outputs: Batch, batch: Batch, parameters: Wire | None = None) -> list[Recognition]:
        """Return each row's embedding, and how it compares with the ``reference`` and the ``gallery``.

        Raises:
            InvalidInput: Embeddings of another length, or a false-accept rate without a threshold.
        """
        wanted = parameters if isinstance(parameters, RecognitionParameters) else RecognitionParameters()
        if isinstance(wanted.reference, str) or isinstance(wanted.gallery, str):
            raise InvalidInput(
                "Only a served model has people enrolled. Send embeddings as reference and gallery.",
                code="nobody_enrolled",
                pointer="/parameters",
            )
        embeddings = mean_of_windows(outputs["vector"], batch.get("row"))
        threshold = self.threshold(wanted) if wanted.reference is not None or wanted.gallery is not None else None
        size = embeddings.shape[1]
        claimed = _person(wanted.reference, size, "reference") if wanted.reference is not None else None
        gallery = {name: _person(one, size, "gallery") for name, one in (wanted.gallery or {}).items()}
        answers = []
        for row in embeddings:
            answer: dict[str, Any] = {"embedding": [round(float(value), DIGITS) for value in row]}
            if claimed is not None and threshold is not None:
                score = float(row @ claimed)
                answer |= {"score": round(score, DIGITS), "verified": score >= threshold}
            if wanted.gallery is not None and threshold is not None:
                near = sorted(((float(row @ one), name) for name, one in gallery.items()), key=lambda two: -two[0])
                found = [Label(label=name, score=round(score, DIGITS)) for score, name in near if score >= threshold]
                answer["matches"] = found[: wanted.top_k or TOP_K]
            answers.append(Recognition(threshold=threshold, **answer))
        return answers

    def threshold(self, wanted: RecognitionParameters) -> float:
        """Return the cosine from which on two embeddings are taken for one person's."""
        if wanted.threshold is not None:
            return wanted.threshold
        known = dict(self.state.thresholds)
        rate = wanted.false_accept_rate or (DEFAULT_RATE if DEFAULT_RATE in known else min(known, default=DEFAULT_RATE))
        if rate not in known:
            rates = ", ".join(f"{one:g}" for one in known) or "none"
            raise InvalidInput(
                f"This model has no threshold for the false-accept rate {rate:g}. Known: {rates}. Send one of these, "
                "or a threshold of your own.",
                code="unknown_rate",
                pointer="/parameters/false_accept_rate",
            )
        return known[rate]

    def settled(self, answers: Sequence[Recognition], rows: Sequence[Row]) -> Self:
        """Return this task with thresholds measured on validation rows.

        They are those of the dense model; a compressed one is judged, and used, at the same thresholds.
        A rate is left out when fewer than one pair of two people could pass at it: its threshold would be a guess.
        """
        _, impostor = self._pairs(*self._arrays(answers, rows))
        rates = [rate for rate in RATES if rate * len(impostor) >= 1]
        found = tuple((rate, round(metrics.threshold_at(impostor, rate), DIGITS)) for rate in rates)
        settled = copy.copy(self)
        settled.state = self.state.model_copy(update={"thresholds": found})
        return settled

    def score(self, answers: Sequence[Recognition], rows: Sequence[Row]) -> dict[str, float]:
        """Equal error rate over all pairs, accuracy and false accepts at the threshold, and rank-1 identification."""
        known = dict(self.state.thresholds)
        threshold = self.threshold(RecognitionParameters()) if known else None
        arrays = self._arrays(answers, rows)
        found = metrics.verification(*self._pairs(*arrays), threshold)
        return found | {"rank_1": metrics.rank_1(*arrays)}

    def drawn_together(self, row: Row) -> str:
        """The identity: pairs of one person are not independent (see `bigray.evaluate`)."""
        return str(row[self.truth])

    def keep(self, network: nn.Module) -> list[str]:
        """The layer that makes the embedding, and the classes."""
        return ["head", "classes"]

    def _pairs(self, embeddings: np.ndarray, names: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        genuine, impostor = metrics.pair_scores(embeddings, names, same)
        if not len(genuine) or not len(impostor):
            raise DataError(
                f"{len(names)} rows with {len(set(names.tolist()))} values of {self.truth} hold {len(genuine)} pairs of "
                f"one person and {len(impostor)} of two; both are needed. Give validation and test two rows or more of "
                f"each {self.truth}."
            )
        return genuine, impostor

    def _arrays(self, answers: Sequence[Recognition], rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return embeddings (N, D), identities (N,) and numbers (N,) that are equal where an answer is there twice."""
        names = [str(row[self.truth]) for row in rows]
        if len(rows) > MAX_SCORED:
            counts = np.cumsum(list(Counter(names).values()))
            fitting = set(list(Counter(names))[: max(2, int(np.searchsorted(counts, MAX_SCORED, side="right")))])
            chosen = [number for number, name in enumerate(names) if name in fitting][:MAX_SCORED]
            names, answers = [names[number] for number in chosen], [answers[number] for number in chosen]
        embeddings = np.array([answer.embedding for answer in answers], dtype=np.float32)
        return embeddings, np.array(names, dtype=object), np.array([id(answer) for answer in answers])


def mean_of_windows(embeddings: np.ndarray, row: np.ndarray | None) -> np.ndarray:
    """Return one vector of length 1 per row: the mean of its windows' unit vectors, (W, D) -> (N, D)."""
    units = unit(np.asarray(embeddings, dtype=np.float64))
    if row is None:
        return units
    sums = np.zeros((int(row[-1]) + 1, units.shape[1]))
    np.add.at(sums, row, units)
    return unit(sums)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors (..., D) divided by their lengths; one of length 0 stays."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def class_logits(embedding: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return SCALE times the cosines of embeddings (W, D) and class vectors (C, D), (W, C)."""
    from torch.nn import functional

    return SCALE * functional.linear(functional.normalize(embedding), functional.normalize(classes))


def _person(vectors: Sequence[Any], size: int, where: str) -> np.ndarray:
    """Return the mean direction (D,) of one person's embeddings."""
    try:
        found = np.atleast_2d(np.asarray(vectors, dtype=np.float64))
    except ValueError:  # lists of different lengths
        found = np.zeros((1, 0))
    if found.ndim != 2 or found.shape[1] != size or not np.linalg.norm(found, axis=1).all():
        raise InvalidInput(
            f"{where}: embeddings of this model have {size} numbers, not all 0. Send those it answered with.",
            code="wrong_embedding",
            pointer=f"/parameters/{where}",
        )
    return unit(unit(found).mean(0))
