"""Stretches of a text: which characters tokens cover, where an answer lies, and which pairs of places are the best."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bigray.tasks.base import Row

NEAR = 80
"""Characters around an answer whose words are compared with the question's, to choose among several places."""


@dataclass(frozen=True)
class Window:
    """The question and a part of the context, as the network reads them."""

    ids: list[int]
    segments: list[int]
    first: int
    """Place in ``ids`` where the context begins."""
    extents: np.ndarray
    """(C, 4) characters of the context: start and end of each token of this part, start and end of its word."""


@dataclass(frozen=True)
class Found:
    """What one window says. ``stretches`` are (sum of logits, start, end), best first, places in characters."""

    stretches: list[tuple[float, int, int]]
    mass: float
    """Logarithm of the sum of exp over all pairs of the context."""
    none: float
    """Sum of logits of "the answer is not here" (the first token)."""


def extents_of(offsets: Sequence[tuple[int, int]], words: Sequence[int | None]) -> np.ndarray:
    """Return (C, 4): start and end of each token, start and end of the word it is part of."""
    tokens = np.array(offsets, dtype=np.int64).reshape(-1, 2)
    # a token of no word is a word of its own
    numbers = np.array([-1 - place if word is None else word for place, word in enumerate(words)], dtype=np.int64)
    fresh = np.concatenate([[True], numbers[1:] != numbers[:-1]]) if len(numbers) else np.zeros(0, dtype=bool)
    group = np.cumsum(fresh) - 1
    firsts = np.flatnonzero(fresh)
    lasts = np.concatenate([firsts[1:], [len(numbers)]]) - 1 if len(firsts) else firsts
    return np.concatenate([tokens, tokens[firsts[group], :1], tokens[lasts[group], 1:]], axis=1)


def best_stretches(
    start: np.ndarray, end: np.ndarray, places: np.ndarray, longest: int, count: int
) -> tuple[list[tuple[float, int, int]], float]:
    """Return the ``count`` best stretches of at most ``longest`` tokens, and the log of the sum of exp over all pairs."""
    size = len(start)
    if not size:
        return [], -np.inf
    lengths = min(longest, size)
    sums = np.full((lengths, size), -np.inf)  # [l, i]: from token i to token i + l
    for length in range(lengths):
        sums[length, : size - length] = start[: size - length] + end[length:]
    flat = sums.ravel()
    chosen = np.argpartition(-flat, count - 1)[:count] if count < len(flat) else np.arange(len(flat))
    chosen = chosen[np.isfinite(flat[chosen])]
    chosen = chosen[np.argsort(-flat[chosen], kind="stable")]
    found = []
    for index in chosen:
        length, first = divmod(int(index), size)
        found.append((float(flat[index]), int(places[first, 0]), int(places[first + length, 1])))
    return found, float(np.logaddexp.reduce(flat[np.isfinite(flat)]))


def place_of(row: Row) -> tuple[int, int] | None:
    """Return the characters of the first true answer, None when it is not in the context.

    Where the data does not say which of several places is meant, the one among the question's words is taken.
    """
    answer, context = row["answers"][0], row["context"]
    text, start = answer["text"], answer["start"]
    if start >= 0 and context[start : start + len(text)] == text:
        return start, start + len(text)
    found = [match.span() for match in re.finditer(rf"(?<!\w){re.escape(text)}(?!\w)", context)]
    if not found:
        first = context.lower().find(text.lower())
        return None if first < 0 else (first, first + len(text))
    asked = set(re.findall(r"\w+", row["question"].lower()))

    def shared(span: tuple[int, int]) -> int:
        near = context[max(0, span[0] - NEAR) : span[1] + NEAR].lower()
        return len(asked.intersection(re.findall(r"\w+", near)))

    return max(found, key=shared)


def inside(window: Window, start: int, end: int) -> tuple[int, int] | None:
    """Return the first and last token of a stretch in a window, None when it is not wholly there."""
    extents = window.extents
    if not len(extents) or start < extents[0, 0] or end > extents[-1, 1]:
        return None
    hit = np.flatnonzero((extents[:, 1] > start) & (extents[:, 0] < end))
    return (window.first + int(hit[0]), window.first + int(hit[-1])) if len(hit) else None
