"""What the networks of speech recognition share: rows, windows of long recordings, how texts are compared and scored."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np

from bigray import metrics
from bigray.schemas import Transcript, TranscriptionParameters, Wire
from bigray.tasks import base
from bigray.tasks._recordings import Heard, together, windows
from bigray.tasks._speech import encode_wav, stream_audio
from bigray.tasks.base import Batch, Metric, Row


class Transcription(base.Task):
    """Speech in, text out. A recording longer than a window is heard window by window (see `_recordings`)."""

    name = "automatic_speech_recognition"
    fields: ClassVar[Mapping[str, str]] = {"audio": "a sound file", "text": "the words said"}
    primary = Metric("wer", higher_is_better=False)
    timed: ClassVar[bool]
    """Whether every word has its time."""
    rate: int
    """Hz that all sound is resampled to."""
    window_s: float
    overlap_s: float
    """Seconds that neighbouring windows share where there is no pause to cut at."""

    def normalise(self, text: str) -> str:
        """Return the text as it is compared."""
        raise NotImplementedError

    def split(self, row: Row, parameters: Wire | None = None) -> Iterator[Row]:
        """Yield the windows of a recording, decoded as they are asked for."""
        blocks = stream_audio(row["audio"], self.rate, self.longest_s)
        for window in windows(blocks, self.rate, self.window_s, self.overlap_s):
            begin_s, overlap_s = window.begin / self.rate, window.overlap / self.rate
            yield {"audio": (window.samples, self.rate), "begin_s": begin_s, "overlap_s": overlap_s}

    def merge(self, row: Row, found: Sequence[Heard], parameters: Wire | None = None) -> Transcript:
        """Return the text of the whole recording, and with ``return_timestamps`` when it was said."""
        wanted = isinstance(parameters, TranscriptionParameters) and parameters.return_timestamps
        return together(found, timed=self.timed, wanted=wanted)

    def places(self, rows: Sequence[Row]) -> Batch:
        """Return where windows lie: ``begin_s`` and ``overlap_s`` (N,); nothing for rows that are no windows."""
        if not all("begin_s" in row for row in rows):
            return {}
        return {name: np.array([row[name] for row in rows]) for name in ("begin_s", "overlap_s")}

    def score(self, answers: Sequence[Transcript], rows: Sequence[Row]) -> dict[str, float]:
        """Word and character error rate, and word accuracy (1 - wer), over all rows together."""
        said = [self.normalise(answer.text) for answer in answers]
        return metrics.transcription(said, [self.normalise(str(row["text"])) for row in rows])

    def example(self, count: int, size: int | None = None) -> list[Row]:
        """WAV files of ``size`` seconds (by default 1): tones that come and go, in noise."""
        time = np.arange((size or 1) * self.rate) / self.rate
        rows = []
        for number in range(count):
            rng = np.random.default_rng(number)
            tones = np.sin(2 * np.pi * rng.uniform(100, 2000, (4, 1)) * time) * np.sin(
                2 * np.pi * rng.uniform(1, 5, (4, 1)) * time
            )
            sound = 0.1 * tones.sum(0) + 0.01 * rng.standard_normal(len(time))
            rows.append({"audio": encode_wav(sound.astype(np.float32), self.rate)})
        return rows

    def item_bytes(self, row: Row) -> int:
        """Size of the file, or of the decoded samples."""
        audio = row["audio"]
        return audio[0].nbytes if isinstance(audio, tuple) else len(audio)


def normalise_text(text: str, lowercase: bool, punctuation: bool) -> str:
    """Return the text as it is learned and scored: one space between words, compatibility forms unified (NFKC).

    Without ``punctuation``, signs other than letters, digits, marks and apostrophes inside words become spaces.
    """
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
    if lowercase:
        text = text.lower()
    if not punctuation:
        text = "".join(c if unicodedata.category(c)[0] in "LNM" or c == "'" else " " for c in text)
        text = " ".join(word.strip("'") for word in text.split())
    return " ".join(text.split())


def pad(rows: Sequence[np.ndarray], kind: type[np.generic]) -> np.ndarray:
    """Stack arrays of different length, filled with 0."""
    padded = np.zeros((len(rows), max(len(row) for row in rows), *rows[0].shape[1:]), dtype=kind)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return padded
