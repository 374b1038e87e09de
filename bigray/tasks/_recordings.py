"""Recordings of any length: cut into windows while they are decoded, and what was heard in the windows put together.

A window ends in the quietest place of its last third, so that no word is cut. Where nobody pauses there, it is full and
the next one begins some seconds before its end; the words of that overlap are heard twice and counted once. Samples are
decoded as windows are asked for, so memory does not grow with the length.

Sizes: S samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bigray.schemas import Chunk, Transcript

FRAME_S = 0.02
PAUSE_S = 0.2
"""Shorter than this, silence may lie within a word: the closure before a p, t or k takes up to 0.15 s."""
PAUSE_DB = 25.0
"""A pause is so far below the loud parts (the 90th percentile of frames) of its window."""
WORDS_PER_S = 5
"""More than anybody says; bounds where the words of an overlap are looked for."""


class Window(NamedTuple):
    """A stretch of a recording."""

    samples: np.ndarray
    begin: int
    """Where it begins in the recording, in samples."""
    overlap: int
    """Samples at its beginning that the window before has, too."""


@dataclass(frozen=True)
class Heard:
    """What was said in one window."""

    text: str
    chunks: tuple[Chunk, ...]
    """Words, or longer stretches, with their times in the whole recording."""
    begin_s: float = 0.0
    overlap_s: float = 0.0


def windows(blocks: Iterator[np.ndarray], rate: int, window_s: float, overlap_s: float) -> Iterator[Window]:
    """Cut a stream of mono samples; every window has at most ``window_s`` seconds."""
    size, shared = round(window_s * rate), round(overlap_s * rate)
    held, begin, overlap = np.zeros(0, dtype=np.float32), 0, 0
    for block in blocks:
        held = np.concatenate([held, block]) if len(held) else block
        while len(held) > size:
            pause = quietest(held[:size], rate, max(overlap + 1, size - size // 3))
            stop = size if pause is None else pause
            yield Window(held[:stop], begin, overlap)
            overlap = shared if pause is None else 0
            held, begin = held[stop - overlap :], begin + stop - overlap
    if len(held):
        yield Window(held, begin, overlap)


def quietest(samples: np.ndarray, rate: int, start: int) -> int | None:
    """Return the middle of the quietest `PAUSE_S` from the sample ``start`` on; None when it is no pause."""
    frame = round(FRAME_S * rate)
    count = len(samples) // frame
    power = np.square(samples[: count * frame].reshape(count, frame)).mean(axis=1)
    width, first = round(PAUSE_S / FRAME_S), -(-start // frame)
    if count - first < width:
        return None
    level = np.lib.stride_tricks.sliding_window_view(power[first:], width).max(axis=1)
    place = len(level) - 1 - int(level[::-1].argmin())  # the last one of equals: windows are then fewer
    if level[place] > np.quantile(power, 0.9) * 10 ** (-PAUSE_DB / 10):
        return None
    return (first + place) * frame + width * frame // 2


def together(found: Sequence[Heard], *, timed: bool, wanted: bool) -> Transcript:
    """Return the answer for a recording from what was heard in its windows.

    Args:
        found: In order.
        timed: Whether every word has its time. Words of an overlap are then told apart by it, else by comparing texts.
        wanted: Whether times are part of the answer.
    """
    words: list[str] = []
    chunks: list[Chunk] = []
    for one in found:
        if timed:
            chunks = stitch(chunks, one.chunks, one.begin_s, one.begin_s + one.overlap_s)
        else:
            words = join(words, one.text.split(), round(one.overlap_s * WORDS_PER_S))
            chunks += one.chunks
    text = " ".join(chunk.text for chunk in chunks) if timed else " ".join(words)
    return Transcript(text=text, chunks=chunks if wanted else None)


def stitch(left: Sequence[Chunk], right: Sequence[Chunk], start_s: float, stop_s: float) -> list[Chunk]:
    """Join the timed words of two windows that share the time from ``start_s`` to ``stop_s``.

    The seam lies in the widest gap between words, of either window, in the middle half of what they share: at its ends
    words may be cut.
    """
    if stop_s <= start_s:
        return [*left, *right]
    quarter = (stop_s - start_s) / 4
    low, high = start_s + quarter, stop_s - quarter
    spans = sorted(word.timestamp for word in (*left, *right) if word.timestamp[1] > low and word.timestamp[0] < high)
    gaps, free = [], low
    for begin, end in [*spans, (high, high)]:
        gaps.append((begin - free, (begin + free) / 2))
        free = max(free, end)
    width, seam = max(gaps)
    if width <= 0:
        seam = (low + high) / 2
    return [
        *(word for word in left if sum(word.timestamp) / 2 < seam),
        *(word for word in right if sum(word.timestamp) / 2 >= seam),
    ]


def join(left: Sequence[str], right: Sequence[str], most: int) -> list[str]:
    """Join the words of two windows, of which at most the ``most`` last and first are the same.

    The seam lies in a long run of words that both have, case and signs left aside, near to where they meet.
    """
    tail, head = left[len(left) - min(most, len(left)) :], right[:most]
    one, two = ([_plain(word) for word in words] for words in (tail, head))
    # a seam leaves out what is cut off at the end of the left and the beginning of the right: few words, if it is right
    runs = [(_run(one[i:], two[j:]), i, j) for i in range(len(one)) for j in range(len(two))]
    worth, size, after, skipped = max(
        ((2 * n - (len(one) - i - n) - j, n, i, j) for n, i, j in runs if n), default=(0, 0, 0, 0)
    )
    if worth <= 0:
        return [*left, *right]
    return [*left[: len(left) - len(tail) + after + size], *right[skipped + size :]]


def _run(one: Sequence[str], two: Sequence[str]) -> int:
    """Return how many words from the first on are the same."""
    return next((n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))


def _plain(word: str) -> str:
    return "".join(c for c in word.casefold() if c.isalnum()) or word
