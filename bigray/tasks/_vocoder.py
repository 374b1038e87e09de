"""Between sound and mel spectrograms, both ways, in numpy: what a synthesiser learns, and how one hears it.

    sound -> mel:  m = ln max(A |STFT(x)|, 1e-5)      (F, M): Hann windows of 50 ms every 12.5 ms, Slaney mel filters A
    mel -> sound:  s ~ A^-1 exp(m), then phases that make the magnitudes s those of a real sound

A mel spectrogram holds no phases; Griffin and Lim (1984) find some by going to sound and back until both agree, here with
the momentum of Perraudin et al. (2013), which gets there in fewer rounds. No network is needed, and none sounds better
that was not itself trained; it sounds a little hollow. The windows are those of Tacotron (Wang et al. 2017, arXiv 1703.10135).

Sizes: S samples, F frames, M mel bands, B frequencies.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bigray.tasks._speech import mel_filters

HOP_S = 0.0125
"""Step in seconds; 80 frames per second."""
OVERLAP = 4
"""Steps per window: windows of 50 ms."""
FLOOR = 1e-5
"""Amplitude of a mel band that counts as silence."""
MOMENTUM = 0.99


def hop(sample_rate: int) -> int:
    """Return the samples of one step."""
    return round(HOP_S * sample_rate)


def mel_spectrogram(samples: np.ndarray, sample_rate: int, bands: int) -> np.ndarray:
    """Return the log-mel spectrogram (F, M) float32 of mono samples (S,), with F = ceil(S / hop)."""
    step = hop(sample_rate)
    frames = max(1, -(-len(samples) // step))
    padded = np.pad(samples.astype(np.float32), (0, frames * step - len(samples)))
    magnitudes = np.abs(_stft(padded, step))
    mel = magnitudes @ mel_filters(sample_rate, _fft_size(step), bands)
    return np.asarray(np.log(np.maximum(mel, FLOOR)), dtype=np.float32)


def griffin_lim(mel: np.ndarray, sample_rate: int, rounds: int = 32) -> np.ndarray:
    """Return samples (F * hop,) float32 in -1..1 whose log-mel spectrogram is about ``mel`` (F, M).

    The same input gives the same sound. ``rounds``: more is smoother and takes longer.
    """
    step = hop(sample_rate)
    magnitudes = _magnitudes(np.exp(mel.astype(np.float32)), sample_rate, _fft_size(step))
    angles = np.random.default_rng(0).uniform(-np.pi, np.pi, magnitudes.shape).astype(np.float32)
    phases = np.exp(1j * angles).astype(np.complex64)
    before = np.zeros_like(phases)
    for _ in range(rounds):
        rebuilt = _stft(_istft(magnitudes * phases, step), step)
        moved = rebuilt - (MOMENTUM / (1 + MOMENTUM)) * before
        before = rebuilt
        phases = moved / np.maximum(np.abs(moved), 1e-12)
    return np.asarray(np.clip(_istft(magnitudes * phases, step), -1, 1), dtype=np.float32)


def _magnitudes(mel: np.ndarray, sample_rate: int, fft_size: int) -> np.ndarray:
    """Return magnitudes (F, B) that the filters would turn into ``mel`` (F, M): least squares, none below 0.

    Lee and Seung's multiplicative updates (2001), from the pseudo-inverse.
    """
    filters = mel_filters(sample_rate, fft_size, mel.shape[1])
    inverse, gram = _inverse(sample_rate, fft_size, mel.shape[1])
    found = np.maximum(mel @ inverse, 1e-8)
    wanted = mel @ filters.T
    for _ in range(8):
        found *= wanted / np.maximum(found @ gram, 1e-10)
    return np.asarray(found, dtype=np.float32)


@lru_cache(maxsize=8)
def _inverse(sample_rate: int, fft_size: int, bands: int) -> tuple[np.ndarray, np.ndarray]:
    filters = mel_filters(sample_rate, fft_size, bands)
    return np.linalg.pinv(filters), filters @ filters.T


def _stft(samples: np.ndarray, step: int) -> np.ndarray:
    """Return the spectrum (F, B) of samples (F * step,); frame f is centred on its step."""
    window = OVERLAP * step
    margin = (window - step) // 2
    padded = np.pad(samples, (margin, window - step - margin))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::step] * _hann(window)
    return np.fft.rfft(frames, n=_fft_size(step), axis=1)


def _istft(spectrum: np.ndarray, step: int) -> np.ndarray:
    """Return the samples (F * step,) whose spectrum is nearest: windowed frames laid over one another and divided."""
    window = OVERLAP * step
    frames = np.fft.irfft(spectrum, n=_fft_size(step), axis=1)[:, :window] * _hann(window)
    weight = np.square(_hann(window)).reshape(OVERLAP, step)
    count = len(frames)
    total = np.zeros((count + OVERLAP - 1, step), dtype=np.float32)
    norm = np.zeros_like(total)
    for part in range(OVERLAP):
        total[part : part + count] += frames[:, part * step : (part + 1) * step]
        norm[part : part + count] += weight[part]
    margin = (window - step) // 2
    return np.asarray((total / np.maximum(norm, 1e-3)).reshape(-1)[margin : margin + count * step])


def _fft_size(step: int) -> int:
    return 1 << (OVERLAP * step - 1).bit_length()  # next power of two: 1024 at 16 kHz


@lru_cache(maxsize=8)
def _hann(window: int) -> np.ndarray:
    return np.hanning(window + 1)[:-1].astype(np.float32)
