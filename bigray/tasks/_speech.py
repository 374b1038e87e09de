"""Sound in, features out: bounded decoding of audio files, and mel spectrograms in numpy.

Whatever a stranger may send goes through `decode_audio`: the kind of file is known by its first bytes, its header is
checked before anything is decoded, and samples are decoded, mixed and resampled in blocks up to a cap, so that a small
file cannot become a large array. Nothing here opens a path or an address.

Sizes: S samples, F frames (one per hop), M mel bands.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import soundfile
import soxr

from bigray.errors import InvalidInput, TooLarge, UnsupportedMedia

MAX_SECONDS = 600
"""Longest sound that is decoded whole; one that is read as a stream may be longer."""
MAX_CHANNELS = 8
MIN_RATE, MAX_RATE = 8_000, 192_000
"""Hz."""
BLOCK_FRAMES = 65_536
"""Frames decoded at once: at most 2 MiB for 8 channels of float32."""

WINDOW_S = 0.025
HOP_S = 0.010
"""Window and step of the spectrogram in seconds; 25 and 10 ms are customary for speech."""
FLOOR_DB = 80.0
"""Sound this far below the loudest band of the utterance counts as silence."""
LOUD_DB = 25.0
"""A frame this far below the loudest one, in its mean over bands, does not count as speech."""

Audio = bytes | tuple[np.ndarray, int]
"""A sound file, or mono float32 samples with their rate in Hz."""


def decode_audio(data: Audio, sample_rate: int) -> np.ndarray:
    """Return mono float32 samples (S,) at ``sample_rate`` Hz, S >= 1.

    Raises:
        InvalidInput: ``empty_audio``, ``corrupt_audio``, ``non_finite``, or a header outside the limits above
            (``bad_channels``, ``bad_sample_rate``).
        TooLarge: ``audio_too_long``, judged by the header and again while decoding.
        UnsupportedMedia: Not a WAV, FLAC, OGG (Vorbis, Opus) or MP3 file.
    """
    pieces = list(stream_audio(data, sample_rate, MAX_SECONDS))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def stream_audio(data: Audio, sample_rate: int, max_seconds: float) -> Iterator[np.ndarray]:
    """Yield the same samples in blocks, decoded as they are asked for; raises as `decode_audio`, past ``max_seconds``."""
    if isinstance(data, tuple):
        samples, rate = data
        _check_rate(rate)
        _check_length(len(samples), rate, max_seconds)
        blocks = iter([np.asarray(samples, dtype=np.float32)])
    else:
        rate, blocks = _open(bytes(data), max_seconds)
    count = 0
    for piece in _resampled(blocks, rate, sample_rate):
        if not np.isfinite(piece).all():
            raise InvalidInput("The audio holds samples that are not finite numbers.", code="non_finite")
        if len(piece):
            count += len(piece)
            yield piece
    if not count:
        raise InvalidInput("The audio holds no samples. Send at least a few milliseconds.", code="empty_audio")


def audio_rate(data: Audio) -> int:
    """Return the sample rate in Hz that a sound says it has; raises as `decode_audio`."""
    if isinstance(data, tuple):
        return _check_rate(data[1])
    return _open(bytes(data), math.inf)[0]


def encode_wav(samples: np.ndarray, sample_rate: int) -> bytes:
    """Return samples (S,) in -1..1 as a 16-bit WAV file."""
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _open(data: bytes, max_seconds: float) -> tuple[int, Iterator[np.ndarray]]:
    """Check the header; return the rate and the blocks of mono samples still to be decoded."""
    if not data:
        raise InvalidInput("The audio is empty (0 bytes). Send a WAV, FLAC, OGG or MP3 file.", code="empty_audio")
    if not _known_kind(data):
        raise UnsupportedMedia("The audio is not a WAV, FLAC, OGG or MP3 file. Convert it to one of these.")
    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError):
        raise _corrupt() from None
    _check_rate(file.samplerate)
    if not 1 <= file.channels <= MAX_CHANNELS:
        raise InvalidInput(
            f"The audio has {file.channels} channels; 1 to {MAX_CHANNELS} are allowed.", code="bad_channels"
        )
    _check_length(file.frames, file.samplerate, max_seconds)
    return file.samplerate, _blocks(file, max_seconds)


def _blocks(file: soundfile.SoundFile, max_seconds: float) -> Iterator[np.ndarray]:
    total = 0
    with file:
        while True:
            try:
                block = file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, RuntimeError):
                raise _corrupt() from None
            if not len(block):
                return
            total += len(block)
            _check_length(total, file.samplerate, max_seconds)
            yield block.mean(axis=1, dtype=np.float32)


def _resampled(blocks: Iterator[np.ndarray], rate: int, wanted: int) -> Iterator[np.ndarray]:
    if rate == wanted:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, wanted, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


def _known_kind(data: bytes) -> bool:
    head = data[:12]
    if head[:4] in (b"RIFF", b"RF64"):
        return len(head) < 12 or head[8:] == b"WAVE"  # a cut-off RIFF is corrupt rather than of another kind
    is_mp3 = head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2)  # sync, layer III
    return is_mp3 or head[:4] in (b"fLaC", b"OggS")


def _check_rate(rate: int) -> int:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidInput(
            f"The audio has a sample rate of {rate} Hz; {MIN_RATE} to {MAX_RATE} Hz are allowed. Resample it.",
            code="bad_sample_rate",
        )
    return int(rate)


def _check_length(frames: int, rate: int, max_seconds: float) -> None:
    if frames > max_seconds * rate:
        raise TooLarge(f"The audio is longer than {max_seconds:g} s. Send it in shorter pieces.", code="audio_too_long")


def _corrupt() -> InvalidInput:
    return InvalidInput("The audio file is damaged or cut off. Send it whole.", code="corrupt_audio")


def log_mel(samples: np.ndarray, sample_rate: int, bands: int) -> np.ndarray:
    """Return the log-mel spectrogram (F, M) float32 of mono samples (S,), with F = ceil(S / hop).

    Hann windows, power spectrum, Slaney mel filters, in units of 20 dB with a floor `FLOOR_DB` under the loudest band.
    The samples are divided by their peak first: loudness carries no words, and no input can overflow.
    """
    window, hop = frame_sizes(sample_rate)
    count = -(-len(samples) // hop)
    margin = (window - hop) // 2  # centres frame i on the i-th hop
    padded = np.zeros((count - 1) * hop + window, dtype=np.float32)
    padded[margin : margin + len(samples)] = samples / (float(np.abs(samples).max()) or 1.0)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop] * _hann(window)
    spectrum = np.fft.rfft(frames, n=_fft_size(window), axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    mel = power.astype(np.float32, copy=False) @ mel_filters(sample_rate, _fft_size(window), bands)
    level = np.log10(np.maximum(mel, 1e-10))
    return np.asarray(np.maximum(level, level.max() - FLOOR_DB / 10.0), dtype=np.float32) / 2


def mel_power(samples: np.ndarray, sample_rate: int, bands: int) -> np.ndarray:
    """Return the mel spectrogram (F, M) float32 of mono samples (S,), no logarithm taken, with F = S // hop.

    Numbers as `librosa.feature.melspectrogram` gives them with an FFT of one window and ``pad_mode="constant"``: frame i
    is centred on the first sample of the i-th hop. Librosa has one frame more, half of it past the end.
    """
    window, hop = frame_sizes(sample_rate)
    padded = np.pad(samples, window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][: len(samples) // hop] * _hann(window)
    spectrum = np.fft.rfft(frames, axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return np.asarray(power @ mel_filters(sample_rate, window, bands), dtype=np.float32)


def normalise(features: np.ndarray) -> np.ndarray:
    """Centre (F, M) features on the mean of all and of each band, half each, and divide by the one deviation.

    A band's mean holds the microphone, which carries no words, and the vowel of a short word, which does: taking all of
    it off loses spoken digits, taking none of it off loses speakers who were not in training. Only loud frames count, so
    that silence before and after the words changes nothing. Nothing of other utterances enters, so an answer does not
    depend on what else is in the batch.
    """
    loudness = features.mean(axis=1)
    spoken = features[loudness >= loudness.max() - LOUD_DB / 20.0]
    centred = features - (spoken.mean(axis=0, keepdims=True) + spoken.mean()) / 2
    return np.asarray(centred / (spoken.std() + 1e-3), dtype=np.float32)


def change_voice(features: np.ndarray, sample_rate: int, options: Mapping[str, Any]) -> np.ndarray:
    """Move the formants and the colour of a log-mel spectrogram (F, M); for training only.

    Args:
        features: As `log_mel` makes them.
        sample_rate: That of the sound, in Hz.
        options: ``stretch``, the factor on frequencies, and ``colour_db``, the weights of 1, 2, ... half waves of cosine
            over the bands, in dB.
    """
    bands = features.shape[1]
    top = _to_mel(np.array(sample_rate / 2))
    centres = np.arange(1, bands + 1) / (bands + 1)
    heard = _to_mel(_to_hertz(centres * top) / float(options["stretch"])) / top
    place = np.clip(heard * (bands + 1) - 1, 0, bands - 1)  # the band, with fraction, that each band now sounds like
    low = np.minimum(place.astype(np.int64), bands - 2)
    part = place - low
    moved = features[:, low] * (1 - part) + features[:, low + 1] * part
    waves = np.cos(np.pi * np.outer(np.arange(1, len(options["colour_db"]) + 1), centres))
    return np.asarray(moved + np.asarray(options["colour_db"]) @ waves / 20, dtype=np.float32)


def mask_spectrum(features: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    """Hide random bands and stretches of time (SpecAugment, arXiv 1904.08779); for training only.

    Args:
        features: (F, M) of mean about 0; hidden places become 0.
        options: ``bands`` (masks over bands), ``band_width`` (largest, in bands, and a quarter of all at most),
            ``times`` (masks over time), ``time_width`` (largest, a fraction of the utterance), and ``seed``.
    """
    rng = np.random.default_rng(options.get("seed"))
    frames, bands = features.shape
    masked = features.copy()
    for _ in range(int(options.get("bands", 2))):
        width = int(rng.integers(0, min(int(options.get("band_width", 12)), bands // 4) + 1))
        start = int(rng.integers(0, bands - width + 1))
        masked[:, start : start + width] = 0.0
    for _ in range(int(options.get("times", 2))):
        width = int(rng.integers(0, int(float(options.get("time_width", 0.15)) * frames) + 1))
        start = int(rng.integers(0, frames - width + 1))
        masked[start : start + width] = 0.0
    return masked


def frame_sizes(sample_rate: int) -> tuple[int, int]:
    """Return window and hop in samples."""
    return round(WINDOW_S * sample_rate), round(HOP_S * sample_rate)


def _fft_size(window: int) -> int:
    return 1 << (window - 1).bit_length()  # next power of two: 256 at 8 kHz, 512 at 16 kHz


@lru_cache(maxsize=8)
def _hann(window: int) -> np.ndarray:
    return np.hanning(window + 1)[:-1].astype(np.float32)  # periodic, as for spectra


@lru_cache(maxsize=8)
def mel_filters(sample_rate: int, fft_size: int, bands: int) -> np.ndarray:
    """Return the triangular filters (fft_size // 2 + 1, M) from 0 Hz to half the rate, each of equal area.

    Slaney's Auditory Toolbox (1998), as in librosa and Whisper: the mel scale is linear up to 1 kHz (3 mel per 200 Hz)
    and logarithmic above (27 mel per factor 6.4).
    """
    edges = _to_hertz(np.linspace(0.0, _to_mel(np.array(sample_rate / 2)), bands + 2))
    bins = np.linspace(0.0, sample_rate / 2, fft_size // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    area = (edges[2:] - edges[:-2]) / 2  # of a triangle of height 1, in Hz
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)) / area, dtype=np.float32)


_KNEE_HZ, _KNEE_MEL = 1000.0, 15.0
_LOG_STEP = np.log(6.4) / 27.0
"""Natural logarithm of frequency per mel, above the knee."""


def _to_mel(hertz: np.ndarray) -> np.ndarray:
    above = _KNEE_MEL + np.log(np.maximum(hertz, _KNEE_HZ) / _KNEE_HZ) / _LOG_STEP
    return np.where(hertz < _KNEE_HZ, hertz * _KNEE_MEL / _KNEE_HZ, above)


def _to_hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < _KNEE_MEL, mel * _KNEE_HZ / _KNEE_MEL, _KNEE_HZ * np.exp((mel - _KNEE_MEL) * _LOG_STEP))
