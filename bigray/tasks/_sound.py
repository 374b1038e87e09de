"""Sound written in the formats that players and callers want."""

from __future__ import annotations

import io

import numpy as np
import soundfile
import soxr

MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
"""Format -> media type."""
PCM_RATE = 24_000
"""Hz of bare samples, which say no rate themselves; OpenAI's."""
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_WRITTEN = {
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
    "flac": ("FLAC", "PCM_16"),
    "wav": ("WAV", "PCM_16"),
}


def write(samples: np.ndarray, sample_rate: int, format: str) -> bytes:
    """Return mono samples (S,) in -1..1 as a file of one of `MEDIA_TYPES`.

    ``pcm`` is 16-bit little endian at `PCM_RATE`, without a header. Rates that a format does not know become 24 kHz.
    """
    rates = {"pcm": (PCM_RATE,), "opus": OPUS_RATES, "mp3": MP3_RATES}.get(format, (sample_rate,))
    if sample_rate not in rates:
        samples, sample_rate = soxr.resample(samples, sample_rate, PCM_RATE), PCM_RATE
    if format == "pcm":
        return bytes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    kind, subtype = _WRITTEN[format]
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, format=kind, subtype=subtype)
    return file.getvalue()


def convert(data: bytes, format: str) -> bytes:
    """Return a WAV file in another of `MEDIA_TYPES`."""
    if format == "wav":
        return data
    samples, sample_rate = soundfile.read(io.BytesIO(data), dtype="float32")
    return write(samples, sample_rate, format)
