"""Twelve English command words, each spoken by 100 generated voices: rows ``audio`` (WAV, 16 kHz mono), ``text``, ``speaker``.

Made with eSpeak NG (`bigray.data.generate`): five accents times twenty voice variants, each word with a speed and pitch
drawn once for it. Use ``data.group_by: speaker`` so that test measures new voices. The first use takes some seconds; the
recordings are then kept in the cache. No licence conditions rest on the recordings.
"""

from __future__ import annotations

import io
import zlib
from typing import ClassVar

import numpy as np

from bigray.data import cache
from bigray.data.catalogue.base import Entry, Row

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "start", "wait")
ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan")
VARIANTS = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5",
    "Alex", "Andy", "Annie", "Gene", "Lee", "adam", "linda",
)  # fmt: skip
SAMPLE_RATE = 16_000
"""Hz."""
VERSION = 1
"""Raised when the recordings would sound different."""


class SpokenWords(Entry):
    """Made once, then read from the cache."""

    fields: ClassVar[tuple[str, ...]] = ("audio", "text", "speaker")
    needs: ClassVar[dict[str, str]] = {"espeakng_loader": "espeakng-loader"}

    def rows(self) -> list[Row]:
        """Return 1,200 rows."""
        return cache.made(f"spoken_words-{VERSION}", _all)


def _all() -> list[Row]:
    return [_say(word, f"{accent}+{variant}") for accent in ACCENTS for variant in VARIANTS for word in WORDS]


def _say(word: str, speaker: str) -> Row:
    import soundfile
    import soxr

    from bigray.data.generate import speak

    rng = np.random.default_rng(zlib.crc32(f"{speaker} {word}".encode()))
    samples, rate = speak(word, speaker, rate_wpm=int(rng.integers(120, 220)), pitch=int(rng.integers(25, 75)))
    buffer = io.BytesIO()
    soundfile.write(buffer, soxr.resample(samples, rate, SAMPLE_RATE), SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return {"audio": buffer.getvalue(), "text": word, "speaker": speaker}


ENTRY = SpokenWords()
