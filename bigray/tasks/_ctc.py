"""Reading the steps of a CTC network (Graves et al. 2006), in numpy.

A network trained with CTC says one class per step, where class 0 is the blank ("nothing new here"). A text is read by
merging repeats and dropping blanks, so ``--oo-f-ff-`` is ``off``. Sizes: T steps, C classes, V words, L characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

BLANK = 0


@dataclass(frozen=True)
class Word:
    """One word that was heard."""

    text: str
    first: int
    """Step of its first character."""
    last: int
    """Step of its last character."""
    stretch: slice
    """All steps between the spaces around it."""


def greedy_words(classes: Sequence[int], characters: Sequence[str]) -> list[Word]:
    """Read the best class of each step (T,); class k is ``characters[k - 1]``, and spaces part words."""
    words: list[Word] = []
    letters: list[tuple[str, int, int]] = []
    begin = step = 0
    for number, run in groupby(classes):
        first, step = step, step + sum(1 for _ in run)
        character = "" if number == BLANK else characters[number - 1]
        if character.isspace():
            words += _word(letters, begin, first)
            letters, begin = [], step
        elif character:
            letters.append((character, first, step - 1))
    return words + _word(letters, begin, step)


def _word(letters: list[tuple[str, int, int]], begin: int, end: int) -> list[Word]:
    if not letters:
        return []
    text = "".join(character for character, _, _ in letters)
    return [Word(text, letters[0][1], letters[-1][2], slice(begin, end))]


def spell(words: Sequence[str], characters: Sequence[str]) -> np.ndarray:
    """Return the classes of each word (V, L), filled up with -1."""
    classes = {character: number for number, character in enumerate(characters, start=BLANK + 1)}
    spelt = np.full((len(words), max(len(word) for word in words)), -1, dtype=np.int64)
    for place, word in zip(spelt, words, strict=True):
        place[: len(word)] = [classes[character] for character in word]
    return spelt


def log_likelihoods(log_probs: np.ndarray, spelt: np.ndarray) -> np.ndarray:
    """Return log p(word | steps) (V,) of each spelt word (V, L) for log_probs (T, C), summed over all alignments.

    The forward recursion of the paper (its equations 6 to 8), for all words at once: the states are the characters with
    a blank before, between and after them; from one step to the next a path stays, moves on by one, or skips the blank
    between two different characters.
    """
    count, length = spelt.shape
    states = np.full((count, 2 * length + 1), BLANK)
    states[:, 1::2] = np.maximum(spelt, BLANK)
    skips = np.zeros(states.shape, dtype=bool)
    skips[:, 3::2] = spelt[:, 1:] != spelt[:, :-1]
    alpha = np.full(states.shape, -np.inf)
    alpha[:, 0] = 0.0  # before the first step
    for number, step in enumerate(log_probs):
        moved = np.pad(alpha[:, :-1], ((0, 0), (1, 0)), constant_values=-np.inf)
        skipped = np.pad(alpha[:, :-2], ((0, 0), (2, 0)), constant_values=-np.inf)
        total = np.logaddexp(alpha, moved)
        if number:
            total = np.where(skips, np.logaddexp(total, skipped), total)
        alpha = total + step[states]
    ends = 2 * (spelt >= 0).sum(axis=1, keepdims=True)
    last = np.take_along_axis(alpha, ends, axis=1), np.take_along_axis(alpha, ends - 1, axis=1)
    return np.asarray(np.logaddexp(*last)[:, 0])
