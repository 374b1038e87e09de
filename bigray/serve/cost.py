"""What an inference takes, learned from those before it: which inputs should share one, and how many fit a time.

An inference of ``n`` inputs, the heaviest weighing ``w``, takes about ``a + c * n + b * n * w`` ms: something in any case,
something for each input, and something for each unit of what is computed, padding included. Texts and sounds are padded to
the heaviest of their batch, images come to one size whatever their files weigh; ``b`` tells them apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

KEPT = 256
"""Inferences that are remembered."""
EVERY = 16
"""Inferences between two estimates."""
FIRST_RATIO = 4.0
"""While nothing is known of what weight costs, the heaviest input of a batch weighs at most this many times the lightest."""
SHARE = 0.25
"""Of what an inference costs in any case, this is saved where an input joins: left out, it would seldom go alone."""
ALIKE = 1.25
"""Inputs whose weights differ no more than by this factor always go together."""
ABOVE, ROUNDS = 0.1, 6
"""Weight of an inference that took longer than estimated, against 1; and how often that is decided anew."""


class Cost:
    """The estimate; not for several threads at once."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int, float]] = deque(maxlen=KEPT)
        self._since = 0
        self._fit: tuple[float, float, float] | None = None
        self._row_ms = 0.0

    def note(self, weights: Sequence[int], took_ms: float) -> None:
        """Remember an inference."""
        self._seen.append((len(weights), len(weights) * max(weights), took_ms))
        self._row_ms = (
            took_ms / len(weights) if self._row_ms == 0.0 else 0.8 * self._row_ms + 0.2 * took_ms / len(weights)
        )
        self._since += 1
        if self._since >= EVERY:
            self._since = 0
            self._estimate()

    @property
    def row_ms(self) -> float:
        """Mean ms per input of the last inferences, newer ones weighing more; 0 before the first."""
        return self._row_ms

    def of(self, count: int, heaviest: int) -> float:
        """Return the ms that an inference is likely to take; 0 while that is not known."""
        if self._fit is None:
            return 0.0
        once, each, unit = self._fit
        return once + each * count + unit * count * heaviest

    def worth_it(self, count: int, low: int, high: int, weight: int) -> bool:
        """Whether one input more costs less in this batch than in another.

        Args:
            count: Inputs in the batch.
            low: Weight of the lightest of them.
            high: Weight of the heaviest of them.
            weight: Weight of the further one.
        """
        ratio = max(high, weight) / min(low, weight)
        if ratio <= ALIKE or self._fit is None or self._fit[2] == 0.0:
            return ratio <= FIRST_RATIO
        once, _, unit = self._fit
        padding = count * (weight - high) if weight > high else high - weight
        return unit * padding <= SHARE * once

    def _estimate(self) -> None:
        seen = np.array(self._seen)
        took = np.maximum(seen[:, 2], 1e-3)
        terms = np.stack([np.ones(len(seen)), seen[:, 0], seen[:, 1]], axis=1)
        # relative errors count, and those above the estimate little: other work on the machine only ever adds to a time
        # (asymmetric least squares, Newey and Powell 1987)
        weights = 1 / took
        for _ in range(ROUNDS):
            fit = _not_negative(terms * weights[:, None], took * weights)
            weights = np.where(took > terms @ fit, ABOVE, 1.0) / took
        once, each, unit = map(float, fit)
        self._fit = (once, each, unit)


def _not_negative(terms: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the least-squares solution with what comes out below zero left out, the worst first."""
    found = np.zeros(terms.shape[1])
    known = list(range(terms.shape[1]))
    while known:
        some = np.linalg.lstsq(terms[:, known], values, rcond=1e-6)[0]
        if some.min() >= 0:
            found[known] = some
            break
        known.pop(int(some.argmin()))
    return found
