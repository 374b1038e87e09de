"""Words spoken by generated voices (eSpeak NG): five accents times twenty voice variants, made once and kept."""

from __future__ import annotations

import io
import zlib
from typing import ClassVar

import numpy as np

from bigray.data import cache
from bigray.data.catalogue.base import Entry, Row

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
    """Words in every voice, ``takes`` times at different speeds and pitches; made once, then read from the cache."""

    fields: ClassVar[tuple[str, ...]] = ("audio", "text", "speaker")
    needs: ClassVar[dict[str, str]] = {"espeakng_loader": "espeakng-loader"}

    def __init__(self, name: str, words: tuple[str, ...], takes: int = 1) -> None:
        self.name, self.words, self.takes = name, words, takes

    def rows(self) -> list[Row]:
        """Return a row per voice, word and take."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = cache.folder("generated") / f"{self.name}-{VERSION}.parquet"
        if path.is_file():
            kept: list[Row] = pq.read_table(path).to_pylist()
            return kept
        voices = [f"{accent}+{variant}" for accent in ACCENTS for variant in VARIANTS]
        rows = [_say(word, voice, take) for voice in voices for word in self.words for take in range(self.takes)]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer)
        cache.write(path, buffer.getvalue())
        return rows


def _say(word: str, speaker: str, take: int) -> Row:
    import soundfile
    import soxr

    from bigray.data.generate import speak

    rng = np.random.default_rng([zlib.crc32(f"{speaker} {word}".encode()), take])
    samples, rate = speak(word, speaker, rate_wpm=int(rng.integers(120, 220)), pitch=int(rng.integers(25, 75)))
    buffer = io.BytesIO()
    soundfile.write(buffer, soxr.resample(samples, rate, SAMPLE_RATE), SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return {"audio": buffer.getvalue(), "text": word, "speaker": speaker}
