"""Mel-cepstral distance and the warping under it."""

import numpy as np
import pytest

from bigray import metrics


def test_warp_finds_the_cheapest_path() -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 4), (5, 3), (6, 7)):
        cost = rng.random(shape)
        best = np.full(shape, np.inf)
        for i in range(shape[0]):
            for j in range(shape[1]):
                before = [best[a, b] for a, b in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if min(a, b) >= 0]
                best[i, j] = cost[i, j] + (min(before) if before else 0)
        rows, columns = metrics.warp(cost)
        assert cost[rows, columns].sum() == pytest.approx(best[-1, -1])
        assert (rows[0], columns[0]) == (0, 0)
        assert (rows[-1], columns[-1]) == (shape[0] - 1, shape[1] - 1)
        assert ((np.diff(rows) + np.diff(columns)) >= 1).all()


def test_mel_cepstral_distance_is_kubicheks() -> None:
    bands = 40
    centre = np.pi * (np.arange(bands) + 0.5) / bands
    base = np.tile(-2 + np.cos(centre), (30, 1))

    def distance(other: np.ndarray) -> tuple[float, float, float]:
        files = {other.tobytes(): other, base.tobytes(): base}
        return metrics.synthesis(other.tobytes(), base.tobytes(), files.__getitem__)

    assert distance(base.copy()) == pytest.approx((0, 0, 0), abs=1e-9)
    # one cepstral coefficient off by 0.1: 10 / ln 10 sqrt(2) 0.1
    off = distance(base + 0.1 * np.cos(3 * centre))
    assert off[0] == pytest.approx(10 / np.log(10) * np.sqrt(2) * 0.1)
    # louder throughout: no cepstral distance, but one of the spectrogram
    assert distance(base + 0.3)[:2] == pytest.approx((0, 20 / np.log(10) * 0.3))
    # coefficients past the thirteenth do not count
    assert distance(base + 0.1 * np.cos(20 * centre))[0] == pytest.approx(0, abs=1e-9)
    assert distance(np.repeat(base, 2, axis=0))[0] == pytest.approx(0, abs=1e-9)
    assert distance(np.repeat(base, 2, axis=0))[2] == 1
