"""The length regulator: what is known of each character, repeated for as many frames as it lasts. Numpy only.

It stands between the two graphs of a synthesiser that draws all frames at once (FastSpeech, Ren et al. 2019, arXiv
1905.09263, section 3.2; VITS), because the number of frames is known only when the first graph has run.

Sizes: N rows, T characters, F frames, D width.
"""

from __future__ import annotations

import numpy as np

from bigray.tasks.base import Batch

LONGEST_FRAMES = 160
"""Most that one character may last: two seconds, so that no text becomes an endless sound."""


def regulate(batch: Batch, outputs: Batch, pace: float, noise_scale: float | None = None) -> Batch:
    """Return ``hidden`` (N, F, D), ``place`` (N, F, 2) and ``frames`` (N,): what `FastSpeech.decode` takes.

    Args:
        batch: With ``token_lengths`` (N,).
        outputs: ``hidden`` (N, T, D) and ``log_durations`` (N, T).
        pace: How many times shorter than that each character lasts.
        noise_scale: None, or for VITS, whose ``hidden`` (N, T, 2 D) are means and log deviations, the share of the
            deviation that frames are drawn with. The same text is always drawn alike.
    """
    rows = []
    for count, hidden, logs in zip(
        batch["token_lengths"].tolist(), outputs["hidden"], outputs["log_durations"], strict=True
    ):
        lasts = whole_frames(logs[:count], pace, rounded_up=noise_scale is not None)
        which = np.repeat(np.arange(count), lasts)
        part = (np.arange(len(which)) - (np.cumsum(lasts) - lasts)[which] + 0.5) / lasts[which]
        drawn = hidden[which] if noise_scale is None else _drawn(hidden[which], noise_scale)
        rows.append((drawn, np.stack([part, np.log(lasts[which])], -1)))
    lengths = np.array([len(place) for _, place in rows], dtype=np.int64)
    size = (len(rows), lengths.max())
    found = {
        "hidden": np.zeros((*size, rows[0][0].shape[1]), dtype=np.float32),
        "place": np.zeros((*size, 2), dtype=np.float32),
    }
    for number, (hidden, place) in enumerate(rows):
        found["hidden"][number, : len(place)], found["place"][number, : len(place)] = hidden, place
    return {**found, "frames": lengths}


def whole_frames(logs: np.ndarray, pace: float, *, rounded_up: bool) -> np.ndarray:
    """Return how many frames each character lasts (T,) int64, one in all at least.

    Ends are rounded, not lengths: what one character loses another gains. VITS was trained on lengths ``rounded_up``.
    """
    frames = np.clip(np.exp(logs.astype(np.float64).clip(-20, 20)) / pace, 0, LONGEST_FRAMES)
    ends = np.round(np.cumsum(np.ceil(frames) if rounded_up else frames)).astype(np.int64)
    ends[-1] = max(1, ends[-1])
    return np.diff(ends, prepend=0)


def _drawn(frames: np.ndarray, noise_scale: float) -> np.ndarray:
    means, logs = np.split(frames, 2, axis=1)
    noise = np.random.default_rng(0).standard_normal(means.shape)
    return np.asarray(means + noise * np.exp(logs) * noise_scale, dtype=np.float32)
