"""Text to a mel spectrogram in one pass, all frames at once: FastSpeech (Ren et al. 2019, arXiv 1905.09263; 2021, 2006.04558).

    h = blocks(E[characters])                               (N, T, D), what is to be said
    log d = W blocks(h)                                     (N, T), frames that each character lasts
    g_f = h_t(f) + U [place of f in t, log d_t]             (N, F, D), each character repeated d times: the length regulator
    mel = W blocks(g)                                       (N, F, M)
    block(x) = x + W2 ReLU(W1 norm(depthwise(x)))           ConvNeXt (Liu et al. 2022, arXiv 2201.03545) over time

FastSpeech's blocks of attention are ConvNeXt blocks here, which learn from minutes of speech; there are no predictors of
pitch and energy. Durations need no other aligner: they come from `bigray.models._alignment`, trained along with the rest.
Answering takes two graphs, `encode` and `decode`; the regulator between them is the caller's.

Sizes: N rows, T characters, F frames, D width, M mel bands.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from bigray.models import _alignment

OPTIONS: dict[str, dict[str, Any]] = {
    "voice": {"width": 192, "encoder_depth": 4, "decoder_depth": 6, "kernel": 7, "dropout": 0.1}
}
"""Channels, blocks before and after the length regulator, steps that a block sees (odd), and share of channels dropped."""
DURATION_DEPTH = 2
ALIGN_WIDTH = 128
SHARPNESS = 0.5
"""Inverse variance of a standardised mel band around its character's mean; bands go together, so each counts for less than 1."""


class Block(nn.Module):
    """Depthwise convolution over time, then two layers at every step, and a way around both; (N, T, D) -> (N, T, D)."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the next state; ``mask`` (N, T, 1) is 1 within a row."""
        y = self.depthwise((x * mask).transpose(1, 2)).transpose(1, 2)
        return x + self.dropout(self.narrow(torch.relu(self.wide(self.norm(y)))))  # type: ignore[no-any-return]


class Blocks(nn.Module):
    """Some blocks and a norm. A row's result does not depend on how far the batch is padded."""

    def __init__(self, width: int, depth: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.gap = kernel // 2
        self.layers = nn.ModuleList(Block(width, kernel, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return (N, T, D) for rows of ``lengths`` (N,)."""
        if self.training:
            return self._end_to_end(x, lengths)
        mask = _mask(x, lengths)
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)  # type: ignore[no-any-return]

    def _end_to_end(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The same with all rows in one, zeros between them: recordings differ so much that padding would be most of it."""
        sizes = lengths.tolist()
        mask = _mask(x, lengths)
        y, inside = (
            torch.cat([functional.pad(row[:size], (0, 0, 0, self.gap)) for row, size in zip(one, sizes, strict=True)])
            for one in (x, mask)
        )
        y, inside = y[None], inside[None]
        for layer in self.layers:
            y = layer(y, inside)
        pieces = self.norm(y)[0].split([size + self.gap for size in sizes])
        rows = [
            functional.pad(row[:size], (0, 0, 0, x.shape[1] - size)) for row, size in zip(pieces, sizes, strict=True)
        ]
        return torch.stack(rows)


class Aligner(nn.Module):
    """How likely each frame is under each character: log N(m_f; mu_t, 1/SHARPNESS), plus the prior.

    mu_t = W ReLU(conv(E[characters])), three characters wide: a sound depends on its neighbours.
    """

    def __init__(self, vocabulary: int, bands: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, ALIGN_WIDTH, padding_idx=0)
        self.mean = nn.Sequential(
            nn.Conv1d(ALIGN_WIDTH, 2 * ALIGN_WIDTH, 3, padding=1), nn.ReLU(), nn.Conv1d(2 * ALIGN_WIDTH, bands, 1)
        )

    def forward(
        self, tokens: torch.Tensor, token_lengths: torch.Tensor, mel: torch.Tensor, mel_lengths: torch.Tensor
    ) -> torch.Tensor:
        """Return log-likelihoods (N, F, T), up to a constant."""
        embedded = self.embedding(tokens)
        mask = _mask(embedded, token_lengths)
        means, mel = self.mean((embedded * mask).transpose(1, 2)).transpose(1, 2).float(), mel.float()
        far = mel.square().sum(2)[:, :, None] + means.square().sum(2)[:, None] - 2 * mel @ means.transpose(1, 2)
        likely = -0.5 * SHARPNESS * far
        known = _alignment.prior(mel_lengths, token_lengths)
        known = functional.pad(
            known,
            (0, likely.shape[2] - known.shape[2], 0, likely.shape[1] - known.shape[1]),
            value=_alignment.NEVER,
        )
        outside = mask[:, None, :, 0] == 0
        scores: torch.Tensor = (likely + known).masked_fill(outside, _alignment.NEVER).clamp(min=_alignment.NEVER)
        return scores


class FastSpeech(nn.Module):
    """See the module's text."""

    def __init__(
        self,
        vocabulary: int,
        bands: int,
        width: int,
        encoder_depth: int,
        decoder_depth: int,
        kernel: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.encoder = Blocks(width, encoder_depth, kernel, dropout)
        self.duration_blocks = Blocks(width, DURATION_DEPTH, kernel, dropout)
        self.duration_head = nn.Linear(width, 1)
        self.place = nn.Linear(2, width)
        self.decoder = Blocks(width, decoder_depth, kernel, dropout)
        self.head = nn.Linear(width, bands)
        self.aligner = Aligner(vocabulary, bands)

    def forward(
        self, tokens: torch.Tensor, token_lengths: torch.Tensor, mel: torch.Tensor, mel_lengths: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Say recorded rows again with their true durations, for training.

        Args:
            tokens: (N, T) int64, 0 after ``token_lengths`` (N,).
            token_lengths: Characters of each row.
            mel: The true spectrogram (N, F, M), padded after ``mel_lengths`` (N,).
            mel_lengths: Frames of each row.

        Returns:
            ``mel`` (N, F, M), ``log_durations`` (N, T) as foretold, ``durations`` (N, T) as found, ``scores`` (N, F, T).
        """
        found = self.encode(tokens, token_lengths)
        scores = self.aligner(tokens, token_lengths, mel, mel_lengths)
        durations = _alignment.durations(scores, mel_lengths, token_lengths)
        ends = durations.cumsum(1)
        frame = torch.arange(mel.shape[1], device=mel.device).expand(len(mel), -1).contiguous()
        which = torch.searchsorted(ends, frame, right=True).clamp(max=tokens.shape[1] - 1)
        lasts = durations.gather(1, which)
        part = (frame - (ends.gather(1, which) - lasts) + 0.5) / lasts.clamp(min=1)
        place = torch.stack([part.clamp(0, 1), lasts.clamp(min=1).log()], -1).to(mel.dtype)
        hidden = found["hidden"].gather(1, which[:, :, None].expand(-1, -1, found["hidden"].shape[2]))
        return {
            "mel": self.decode(hidden, place, mel_lengths),
            "log_durations": found["log_durations"],
            "durations": durations,
            "scores": scores,
        }

    def encode(self, tokens: torch.Tensor, token_lengths: torch.Tensor) -> dict[str, torch.Tensor]:
        """Read the text: ``hidden`` (N, T, D) and ``log_durations`` (N, T), the natural logarithm of frames."""
        hidden = self.encoder(self.embedding(tokens), token_lengths)
        # what a character lasts must not change how it sounds
        steps = self.duration_blocks(hidden.detach(), token_lengths)
        return {"hidden": hidden, "log_durations": self.duration_head(steps)[:, :, 0]}

    def decode(self, hidden: torch.Tensor, place: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Return the spectrogram (N, F, M) of characters repeated, for rows of ``frames`` (N,).

        ``place`` (N, F, 2): how far into its character each frame is, 0 to 1, and the logarithm of its duration.
        """
        return self.head(self.decoder(hidden + self.place(place), frames))  # type: ignore[no-any-return]


def _mask(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return (N, T, 1) of x's type: 1 for steps within a row."""
    return (torch.arange(x.shape[1], device=x.device)[None, :, None] < lengths[:, None, None]).to(x.dtype)


def build(options: dict[str, Any]) -> nn.Module:
    """Build from `OPTIONS` and the dimensions a task adds (kind, vocabulary, bands)."""
    return FastSpeech(**{key: value for key, value in options.items() if key != "kind"})
