"""Ninety generated voices, each saying eight short sentences: rows ``audio`` (FLAC, 8 kHz mono), ``speaker``, ``text``.

Made with eSpeak NG (`bigray.data.generate`): five accents times eighteen voice variants; a voice has a pitch and a speed
of its own, from which each sentence strays a little. No two recordings of a voice have the same words. The first use
takes some seconds; the recordings are then kept in the cache. No licence conditions rest on the recordings. Generated
voices differ less, and less alike, than those of people: good for trying things, not for judging them.
"""

from __future__ import annotations

import io
import zlib
from typing import ClassVar

import numpy as np

from bigray.data import cache
from bigray.data.catalogue.base import Entry, Row

SENTENCES = (
    "the boat left the harbour before dawn",
    "please put the books back on the shelf",
    "rain is expected in the north tonight",
    "she found a coin under the old bridge",
    "we never take the same road twice",
    "call me when the train has arrived",
    "his garden is full of yellow roses",
    "nobody could open the kitchen window",
)
ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan")
VARIANTS = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5",
    "Alex", "Annie", "Gene", "Lee", "linda",
)  # fmt: skip
SAMPLE_RATE = 8_000
"""Hz."""
VERSION = 1
"""Raised when the recordings would sound different."""


class Voices(Entry):
    """Made once, then read from the cache."""

    fields: ClassVar[tuple[str, ...]] = ("audio", "speaker", "text")
    needs: ClassVar[dict[str, str]] = {"espeakng_loader": "espeakng-loader"}

    def rows(self) -> list[Row]:
        """Return 720 rows."""
        return cache.made(f"voices-{VERSION}", _all)


def _all() -> list[Row]:
    return [_say(text, f"{accent}+{variant}") for accent in ACCENTS for variant in VARIANTS for text in SENTENCES]


def _say(text: str, speaker: str) -> Row:
    import soundfile
    import soxr

    from bigray.data.generate import speak

    own = np.random.default_rng(zlib.crc32(speaker.encode()))
    pitch, speed = own.uniform(15, 85), own.uniform(130, 210)
    stray = np.random.default_rng(zlib.crc32(f"{speaker} {text}".encode()))
    samples, rate = speak(
        text, speaker, rate_wpm=round(speed + stray.normal(0, 8)), pitch=round(pitch + stray.normal(0, 3))
    )
    buffer = io.BytesIO()
    soundfile.write(buffer, soxr.resample(samples, rate, SAMPLE_RATE), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return {"audio": buffer.getvalue(), "speaker": speaker, "text": text}


ENTRY = Voices()
