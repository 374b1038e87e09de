"""Which frames of a recording belong to which characters of its text, learned without anybody having marked it.

A hidden Markov model: every character stands for a mean spectrum, every frame is drawn around that of one character, and
characters follow each other without a gap. The likelihood of the recordings summed over all monotonic paths is made large
(Neural HMMs Are All You Need, Mehta et al. 2022, arXiv 2108.13320; One TTS Alignment To Rule Them All, Badlani et al.
2021, arXiv 2108.10447, has the sum by CTC). A beta-binomial prior, which says that speech runs on evenly, leads the first
steps. Because the characters must explain the frames, and not only be told apart by them, minutes of speech are enough.
The durations are read off the best single path (Glow-TTS, Kim et al. 2020, arXiv 2005.11129, section 3).

Sizes: N rows, F frames, T characters.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

NEVER = -1e4
"""Logarithm of the likelihood of a character that a row does not have."""
UNLIKELY = 20.0
"""Taken off every score and given back: torch's gradient of CTC is right up to a term of exp(score)."""


def prior(frames: torch.Tensor, characters: torch.Tensor) -> torch.Tensor:
    """Return log P(character | frame) (N, F, T) of the beta-binomial prior, for lengths (N,) each; section 2.3."""
    f = torch.arange(1, int(frames.max()) + 1, device=frames.device)[None, :, None]
    t = torch.arange(int(characters.max()), device=frames.device)[None, None, :]
    last = (characters - 1).clamp(min=0)[:, None, None].float()
    a, b = f.float(), (frames[:, None, None] - f + 1).clamp(min=1).float()
    k = torch.minimum(t.float(), last)
    choose = torch.lgamma(last + 1) - torch.lgamma(k + 1) - torch.lgamma(last - k + 1)
    found = choose + _log_beta(k + a, last - k + b) - _log_beta(a, b)
    return found.masked_fill(t >= characters[:, None, None], NEVER)


def all_paths_loss(scores: torch.Tensor, frames: torch.Tensor, characters: torch.Tensor) -> torch.Tensor:
    """Return -log of the likelihood of all monotonic paths, per frame, mean over rows.

    ``scores`` (N, F, T): logarithm of the likelihood of each frame under each character; at most about 0.
    """
    blank_first = functional.pad(scores - UNLIKELY, (1, 0), value=NEVER)
    targets = torch.arange(1, scores.shape[2] + 1, device=scores.device).expand(len(scores), -1)
    each = functional.ctc_loss(
        blank_first.transpose(0, 1), targets, frames, characters, blank=0, reduction="none", zero_infinity=True
    )
    return (each / frames.clamp(min=1) - UNLIKELY * (each > 0)).mean()


def durations(scores: torch.Tensor, frames: torch.Tensor, characters: torch.Tensor) -> torch.Tensor:
    """Return how many frames each character has on the best path, (N, T) int64; every character has one at least.

    A row with fewer frames than characters gives its first characters one frame each.
    """
    likely = scores.detach().float().cpu().numpy()
    lengths, sizes = frames.cpu().numpy(), np.minimum(characters.cpu().numpy(), frames.cpu().numpy())
    rows, steps, width = likely.shape
    best = np.full((rows, width), -np.inf, dtype=np.float32)
    moved = np.zeros((steps, rows, width), dtype=bool)
    for step in range(steps):
        before = np.full_like(best, -np.inf)
        before[:, 1:] = best[:, :-1]
        if step == 0:
            before[:, 0] = 0.0
        moved[step] = before > best
        best = np.maximum(best, before) + likely[:, step]
    found = np.zeros((rows, width), dtype=np.int64)
    place, every = sizes - 1, np.arange(rows)
    for step in range(steps - 1, -1, -1):
        active = (step < lengths) & (place >= 0)
        found[every[active], place[active]] += 1
        # the frames left must be enough for the characters left
        back = moved[step, every, np.maximum(place, 0)] | (place >= step)
        place = np.where(active & back & (place > 0), place - 1, place)
    return torch.from_numpy(found).to(scores.device)


def _log_beta(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
