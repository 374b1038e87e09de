"""One generated voice making 240 announcements of a railway station: rows ``audio`` (FLAC, 16 kHz mono), ``text``.

Made with eSpeak NG (`bigray.data.generate`), each announcement drawn from a few phrases; no two are alike. For trying a
synthesiser that learns from recordings: what is learned here was synthesised before, and is plainer than a person. The
first use takes some seconds; the recordings are then kept in the cache. No licence conditions rest on the recordings.
"""

from __future__ import annotations

import io
from typing import ClassVar

import numpy as np

from bigray.data import cache
from bigray.data.catalogue.base import Entry, Row

WHAT = ("the train", "the bus", "the express", "the last tram")
WHERE = ("to London", "to Bath", "to Dover", "to York", "from Leeds", "from Oxford", "from Derby")
WHEN = ("is late", "is on time", "leaves now", "leaves at noon", "stops here", "is full", "was cancelled")
GATE = ("gate one", "gate two", "gate three", "gate four", "gate five")
COUNT = 240
VOICE = "en-us+f2"
SAMPLE_RATE = 16_000
"""Hz."""
VERSION = 1
"""Raised when the recordings would sound different."""


class Announcements(Entry):
    """Made once, then read from the cache."""

    fields: ClassVar[tuple[str, ...]] = ("audio", "text")
    needs: ClassVar[dict[str, str]] = {"espeakng_loader": "espeakng-loader"}

    def rows(self) -> list[Row]:
        """Return 240 rows."""
        return cache.made(f"announcements-{VERSION}", _all)


def _all() -> list[Row]:
    every = [
        text
        for what in WHAT
        for where in WHERE
        for when in WHEN
        for text in (f"{what} {where} {when}.", *(f"{what} {where} {when}, {gate}." for gate in GATE))
    ]
    order = np.random.default_rng(0).permutation(len(every))[:COUNT]
    return [_say(every[number]) for number in order]


def _say(text: str) -> Row:
    import soundfile
    import soxr

    from bigray.data.generate import speak

    samples, rate = speak(text, VOICE, rate_wpm=200)
    buffer = io.BytesIO()
    soundfile.write(buffer, soxr.resample(samples, rate, SAMPLE_RATE), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return {"audio": buffer.getvalue(), "text": text}


ENTRY = Announcements()
