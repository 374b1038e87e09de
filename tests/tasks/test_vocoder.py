"""Spectrograms and back."""

import numpy as np
import pytest

from bigray.tasks import _vocoder

RATE = 16_000


def voice() -> np.ndarray:
    """Harmonics whose pitch and loudness move."""
    time = np.arange(RATE) / RATE
    phase = 2 * np.pi * np.cumsum(150 + 40 * np.sin(2 * np.pi * 2 * time)) / RATE
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, 12)) * (1.2 + np.sin(9 * time))).astype(np.float32)


def test_there_and_back_is_exact() -> None:
    step = _vocoder.hop(RATE)
    sound = voice()
    assert _vocoder._istft(_vocoder._stft(sound, step), step) == pytest.approx(sound, abs=1e-5)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050])
def test_griffin_lim_makes_a_sound_of_that_spectrogram(rate: int) -> None:
    sound = voice()[: rate // 2]
    mel = _vocoder.mel_spectrogram(sound, rate, 60)
    off = []
    for rounds in (0, 4, 32):
        again = _vocoder.griffin_lim(mel, rate, rounds)
        assert len(again) == len(mel) * _vocoder.hop(rate)
        off.append(np.abs(_vocoder.mel_spectrogram(again, rate, 60) - mel)[mel > mel.max() - 5].mean())
    assert off[2] < off[1] < off[0]
    assert off[2] < 0.2  # 1.7 dB
    assert (again == _vocoder.griffin_lim(mel, rate, 32)).all()


def test_mel_of_a_tone_peaks_at_its_band() -> None:
    low, high = (np.sin(2 * np.pi * f * np.arange(RATE) / RATE) for f in (300, 3000))
    peaks = [_vocoder.mel_spectrogram(one, RATE, 80)[40].argmax() for one in (low, high)]
    assert peaks[0] < 20 < peaks[1]
    assert _vocoder.mel_spectrogram(np.zeros(10), RATE, 80).shape == (1, 80)
