"""How the field scores each task, through the libraries it is scored with elsewhere. Each function returns fractions."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from bigray.schemas import Detection


def classification(predicted: Sequence[str], truth: Sequence[str]) -> dict[str, float]:
    """Accuracy, and F1 averaged over the labels that occur (macro F1); through scikit-learn."""
    from sklearn.metrics import accuracy_score, f1_score

    said, true = [str(label) for label in predicted], [str(label) for label in truth]
    return {
        "accuracy": float(accuracy_score(true, said)),
        "macro_f1": float(f1_score(true, said, average="macro", zero_division=0)),
    }


IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_POINTS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 100
"""Of one image and label, best first; the rest are not looked at. All three as COCO has them."""


def detection_map(
    found: Sequence[Sequence[Detection]], boxes: Sequence[Sequence[Sequence[float]]], labels: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Mean average precision as COCO defines it (https://cocodataset.org/#detection-eval): ``map_50`` and ``map``.

    ``map`` is the mean over `IOU_THRESHOLDS`. The mean goes over the labels that occur in the truth; without any, 0.
    The numbers are those of pycocotools (a test compares them), which is too slow for a bootstrap over rows; here the
    matching within an image is remembered from one resample to the next.

    Args:
        found: Per image, the detections.
        boxes: Per image, the true corners (xmin, ymin, xmax, ymax) in pixels.
        labels: Per image, the label of each true box.
    """
    precisions = []
    for label in sorted({label for image in labels for label in image}):
        scores, hits, count = [], [], 0
        for answer, corners, names in zip(found, boxes, labels, strict=True):
            own = sorted((one for one in answer if one.label == label), key=lambda one: -one.score)[:MAX_DETECTIONS]
            true = [box for box, name in zip(corners, names, strict=True) if name == label]
            count += len(true)
            scores.append(np.array([one.score for one in own], dtype=np.float64))
            places = [(one.box.xmin, one.box.ymin, one.box.xmax, one.box.ymax) for one in own]
            hits.append(_hits(np.array(places, dtype=np.float64).tobytes(), np.array(true, dtype=np.float64).tobytes()))
        precisions.append(_average_precision(np.concatenate(scores), np.concatenate(hits, axis=1), count))
    if not precisions:
        return {"map_50": 0.0, "map": 0.0}
    mean = np.mean(precisions, axis=0)
    return {"map_50": float(mean[0]), "map": float(mean.mean())}


@lru_cache(maxsize=20_000)
def _hits(found: bytes, truth: bytes) -> np.ndarray:
    """Return which boxes (D, 4), best first, meet a true box (G, 4) of their own, per threshold: (10, D) bool."""
    mine = np.frombuffer(found, dtype=np.float64).reshape(-1, 4)
    true = np.frombuffer(truth, dtype=np.float64).reshape(-1, 4)
    hits = np.zeros((len(IOU_THRESHOLDS), len(mine)), dtype=bool)
    if not len(mine) or not len(true):
        return hits
    overlap = _overlap(mine, true)
    free = np.ones((len(IOU_THRESHOLDS), len(true)), dtype=bool)
    every = np.arange(len(IOU_THRESHOLDS))
    for index, row in enumerate(overlap):
        open_to = np.where(free & (row >= IOU_THRESHOLDS[:, None]), row, -1.0)
        best = len(true) - 1 - open_to[:, ::-1].argmax(axis=1)  # of equal ones the last, as pycocotools does
        hits[:, index] = open_to[every, best] >= 0
        free[every[hits[:, index]], best[hits[:, index]]] = False
    return hits


def _average_precision(scores: np.ndarray, hits: np.ndarray, count: int) -> np.ndarray:
    """Return the average precision per threshold, (10,): precision at 101 recalls, each the best at or beyond it."""
    if not len(scores):
        return np.zeros(len(hits))
    right = hits[:, np.argsort(-scores, kind="stable")].cumsum(axis=1)
    precision = right / np.arange(1, len(scores) + 1)
    beyond = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.concatenate([beyond, np.zeros((len(hits), 1))], axis=1)
    return np.array(
        [row[np.searchsorted(got / count, RECALL_POINTS)].mean() for row, got in zip(padded, right, strict=True)]
    )


def _overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union of boxes (D, 4) and (G, 4), shape (D, G)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [np.clip(one[:, 2:] - one[:, :2], 0, None).prod(axis=-1) for one in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(shared / np.maximum(union, 1e-12))


def transcription(said: Sequence[str], truth: Sequence[str]) -> dict[str, float]:
    """Word and character error rate over all texts together, and word accuracy (1 - wer, at least 0); through jiwer.

    An error rate is the number of words (characters) substituted, left out and put in, over those of the truth; it may
    exceed 1. Texts are compared as they are: normalise them first.
    """
    counts = np.array([_edits(mine, true) for mine, true in zip(said, truth, strict=True)], dtype=np.int64)
    word_errors, words, character_errors, characters = counts.reshape(-1, 4).sum(axis=0).tolist()
    # where the truth is silent throughout there is nothing to divide by: any word said then counts as one of one
    wer = word_errors / max(1, words)
    return {"wer": wer, "cer": character_errors / max(1, characters), "word_accuracy": max(0.0, 1.0 - wer)}


@lru_cache(maxsize=20_000)
def _edits(said: str, truth: str) -> tuple[int, int, int, int]:
    """Return word errors, true words, character errors, true characters; remembered for the bootstrap over rows."""
    import jiwer

    found: list[int] = []
    for one in (jiwer.process_words(truth, said), jiwer.process_characters(truth, said)):
        found += [one.substitutions + one.deletions + one.insertions, one.hits + one.substitutions + one.deletions]
    return found[0], found[1], found[2], found[3]


def pair_scores(embeddings: np.ndarray, names: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosines of all pairs of one person and of all pairs of two.

    Args:
        embeddings: Of length 1, (N, D).
        names: Who each row is, (N,).
        same: Number of the row, (N,). A bootstrap may draw a row twice; with itself it makes no pair.
    """
    first, second = np.triu_indices(len(names), 1)
    apart = same[first] != same[second]
    first, second = first[apart], second[apart]
    cosines = (embeddings @ embeddings.T)[first, second]
    _, person = np.unique(names.astype(str), return_inverse=True)
    genuine = person[first] == person[second]
    return cosines[genuine], cosines[~genuine]


def verification(genuine: np.ndarray, impostor: np.ndarray, threshold: float | None = None) -> dict[str, float]:
    """Error rates of telling whether two rows are of one person, from `pair_scores`; through scikit-learn.

    ``eer`` is the error rate at the threshold where as many genuine pairs are refused as impostors pass, on the straight
    lines between the points of the ROC. At ``threshold``: ``false_accept_rate`` of impostors, ``false_reject_rate`` of
    genuine pairs, and ``verification_accuracy``, 1 - the mean of both, which is the accuracy were there as many genuine
    pairs as impostors (as in LFW). Without a threshold the accuracy is that at the equal error rate.
    """
    from sklearn.metrics import roc_curve

    truth = np.concatenate([np.ones(len(genuine)), np.zeros(len(impostor))])
    accepted, hits, _ = roc_curve(truth, np.concatenate([genuine, impostor]))
    # accepted - (1 - hits) rises from -1 to 1 along the curve and is 0 where both errors are equal
    eer = float(np.interp(0.0, accepted + hits - 1.0, accepted))
    if threshold is None:
        return {"eer": eer, "verification_accuracy": 1.0 - eer}
    false_accepts = float((impostor >= threshold).mean())
    false_rejects = float((genuine < threshold).mean())
    return {
        "eer": eer,
        "verification_accuracy": 1.0 - (false_accepts + false_rejects) / 2,
        "false_accept_rate": false_accepts,
        "false_reject_rate": false_rejects,
    }


def threshold_at(impostor: np.ndarray, rate: float) -> float:
    """Return the lowest cosine of impostors that at most ``rate`` of them reach or pass."""
    ordered = np.sort(impostor)[::-1]
    passing = int(rate * len(ordered))
    # halfway to the next one down, which must not pass
    return float((ordered[max(0, passing - 1)] + ordered[min(passing, len(ordered) - 1)]) / 2)


def rank_1(embeddings: np.ndarray, names: np.ndarray, same: np.ndarray) -> float:
    """Return how often the nearest other row is of the same person, over rows that have such a row (closed set).

    Args:
        embeddings, names, same: As of `pair_scores`.
    """
    cosines = embeddings @ embeddings.T
    cosines[same[:, None] == same[None]] = -np.inf
    _, person = np.unique(names.astype(str), return_inverse=True)
    alike = (person[:, None] == person[None]) & np.isfinite(cosines)
    known = alike.any(1)
    return float((person[cosines.argmax(1)] == person)[known].mean()) if known.any() else 0.0


def squad(said: Sequence[str], truth: Sequence[Sequence[str]]) -> dict[str, float]:
    """F1 of words and exact match as SQuAD's evaluation script defines them, the best over a row's true answers.

    Lower case, without punctuation and the articles a, an, the. No true answers mean that the context holds none: then
    only an empty answer is right (SQuAD 2.0). https://rajpurkar.github.io/SQuAD-explorer/.

    Args:
        said: One answer per row, empty for none.
        truth: The true answers of each row, which may be several, or none.
    """
    pairs = [
        [_word_overlap(one, true) for true in [text for text in known if _squad_words(text)] or [""]]
        for one, known in zip(said, truth, strict=True)
    ]
    count = max(1, len(pairs))
    return {
        "f1": sum(max(f1 for f1, _ in row) for row in pairs) / count,
        "exact_match": sum(max(exact for _, exact in row) for row in pairs) / count,
    }


_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _squad_words(text: str) -> list[str]:
    return re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split()


@lru_cache(maxsize=20_000)
def _word_overlap(said: str, truth: str) -> tuple[float, float]:
    """Return F1 and exact match of two texts; remembered for the bootstrap over rows."""
    mine, true = _squad_words(said), _squad_words(truth)
    exact = float(mine == true)
    if not mine or not true:
        return exact, exact
    shared = (Counter(mine) & Counter(true)).total()
    return 2.0 * shared / (len(mine) + len(true)), exact


def translation(said: Sequence[str], truth: Sequence[str]) -> dict[str, float]:
    """BLEU (Papineni et al. 2002) and chrF (Popovic 2015) of all texts together; through sacrebleu with its defaults.

    Texts are compared as they are written (detokenised, cased). Fractions of the 0 to 100 that are usually printed.
    """
    bleu, chrf = _sacrebleu()
    counts = [_segment(mine.strip(), true.strip()) for mine, true in zip(said, truth, strict=True)]
    return {
        "bleu": bleu._aggregate_and_compute([list(one) for one, _ in counts]).score / 100,
        "chrf": chrf._aggregate_and_compute([list(one) for _, one in counts]).score / 100,
    }


@lru_cache(maxsize=1)
def _sacrebleu() -> tuple[Any, Any]:
    from sacrebleu.metrics import BLEU, CHRF

    return BLEU(), CHRF()


@lru_cache(maxsize=20_000)
def _segment(said: str, truth: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the counts that BLEU and chrF add up; remembered for the bootstrap over rows."""
    bleu, chrf = (metric._extract_corpus_statistics([said], [[truth]])[0] for metric in _sacrebleu())
    return tuple(bleu), tuple(chrf)


def summarization(said: Sequence[str], truth: Sequence[str]) -> dict[str, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004), F measures with stemming, means over texts; through rouge-score."""
    found = np.array([_rouge(mine, true) for mine, true in zip(said, truth, strict=True)]).reshape(-1, 3)
    values = found.mean(axis=0) if len(found) else np.zeros(3)
    return dict(zip(("rouge_1", "rouge_2", "rouge_l"), values.tolist(), strict=True))


@lru_cache(maxsize=1)
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)


@lru_cache(maxsize=20_000)
def _rouge(said: str, truth: str) -> tuple[float, float, float]:
    scores = _rouge_scorer().score(truth, said)
    return scores["rouge1"].fmeasure, scores["rouge2"].fmeasure, scores["rougeL"].fmeasure


CEPSTRA = 13
AUDIBLE_DB = 60.0
"""A band this far below the loudest one of its recording counts as silence."""
_DISTANCES: dict[tuple[int, int], tuple[float, float, float]] = {}
_MOST_DISTANCES = 50_000


def synthesis(said: bytes, truth: bytes, mel: Callable[[bytes], np.ndarray]) -> tuple[float, float, float]:
    """Return how far speech is from a recording of the same words; remembered for the bootstrap over rows.

    First, the mel-cepstral distance (Kubichek 1993) in dB, mean over the frames of the path that dynamic time warping lays
    through both (Sakoe and Chiba 1978)::

        MCD = 10 / ln 10 sqrt(2 sum of (c_k - c'_k)^2, k = 1..13)
        c_k = 2 / M  sum over bands m of  ln A_m cos(pi k (m + 1/2) / M)

    c_0, the loudness, does not count. Second, the mean difference of the spectrograms' bands on the same path, in dB, where
    it does. Third, the difference of both lengths as a share of the recording's.

    Args:
        said: A sound file.
        truth: The recording.
        mel: Turns a file into log-mel amplitudes (F, M), natural logarithm.
    """
    key = (hash(said), hash(truth))
    if key not in _DISTANCES:
        if len(_DISTANCES) >= _MOST_DISTANCES:
            _DISTANCES.clear()
        _DISTANCES[key] = _synthesis(*(_audible(mel(sound)) for sound in (said, truth)))
    return _DISTANCES[key]


def _synthesis(said: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    bands = truth.shape[1]
    waves = 2 / bands * np.cos(np.pi / bands * np.outer(np.arange(bands) + 0.5, np.arange(1, CEPSTRA + 1)))
    squares = np.square((said @ waves)[:, None] - (truth @ waves)[None]).sum(2)
    far = 10 / np.log(10) * np.sqrt(2 * squares)
    rows, columns = warp(far)
    loud = 20 / np.log(10) * np.abs(said[rows] - truth[columns]).mean()
    return float(far[rows, columns].mean()), float(loud), abs(len(said) - len(truth)) / len(truth)


def _audible(mel: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(mel, mel.max() - AUDIBLE_DB * np.log(10) / 20))


def warp(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the path from the first to the last corner of a matrix (F, G) whose sum of costs is least, as two indices.

    Dynamic time warping with steps to the right, down, or both. Worked out by diagonals, which need no inner loop; the
    packages that do this bring a compiler along.
    """
    frames, others = cost.shape
    total = np.full((frames + 1, others + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(frames + others - 1):
        i = np.arange(max(0, diagonal - others + 1), min(frames - 1, diagonal) + 1)
        j = diagonal - i
        total[i + 1, j + 1] = cost[i, j] + np.minimum(np.minimum(total[i, j], total[i, j + 1]), total[i + 1, j])
    i, j = frames, others
    path = [(i - 1, j - 1)]
    while (i, j) != (1, 1):
        i, j = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda place: total[place])
        path.append((i - 1, j - 1))
    rows, columns = np.array(path[::-1]).T
    return rows, columns
