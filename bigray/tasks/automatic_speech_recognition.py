"""Speech recognition: a sound file in, the words said out.

A network reads the log-mel spectrogram and says, every 20 ms, which character is heard, or none (the blank).
Connectionist temporal classification (CTC, Graves et al. 2006) trains it on texts without any alignment, by summing over
every way the characters could lie in time. The answer is the best character of each step, with repeats merged and
blanks dropped; with a closed vocabulary each word heard becomes the likeliest word of the training texts. The characters
are those of the training texts, so any language that writes sounds can be learned. Wire form: https://huggingface.co/docs/inference-providers/tasks/automatic-speech-recognition.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from bigray import metrics
from bigray.errors import DataError, RecipeError
from bigray.models.base import Architecture, own_architecture, own_options
from bigray.recipe import Data, Model
from bigray.schemas import Chunk, Transcript, TranscriptionParameters, Wire
from bigray.tasks import base
from bigray.tasks._ctc import BLANK, Word, greedy_words, log_likelihoods, spell
from bigray.tasks._speech import (
    HOP_S,
    MIN_RATE,
    audio_rate,
    change_voice,
    decode_audio,
    encode_wav,
    log_mel,
    mask_spectrum,
    normalise,
)
from bigray.tasks.base import Batch, Metric, Row

if TYPE_CHECKING:
    import torch
    from torch import nn

MARGIN_FRAMES = 4
"""Silent frames put before and after each row: a short word then has steps enough for its characters."""
STRIDE = 2
"""Frames per step of the network's output: 20 ms."""
MAX_CHARACTERS = 4_000
MAX_WORDS = 200
"""Words of a closed vocabulary; reading takes time in proportion."""
INPUT: dict[str, Any] = {
    "sample_rate": None,
    "mel_bands": 64,
    "lowercase": True,
    "punctuation": False,
    "vocabulary": "auto",
}
"""Settings of ``model.input``; see `AutomaticSpeechRecognition.State`. ``sample_rate`` is by default that of the training
files, at most 16 kHz. ``vocabulary`` is ``open`` (any word that the characters can write), ``closed`` (the words of the
training texts only, as for commands) or ``auto``: closed when these are at most `MAX_WORDS` and come 20 times each."""


class AutomaticSpeechRecognition(base.Task):
    """See the module's text. Targets: ``targets`` (N, L) int64, classes of the characters; ``target_lengths`` (N,)."""

    name = "automatic_speech_recognition"
    fields: ClassVar[Mapping[str, str]] = {"audio": "a sound file", "text": "the words said"}
    primary = Metric("wer", higher_is_better=False)
    inputs = ("features", "lengths")
    outputs = ("logits",)
    dynamic: ClassVar[Mapping[str, Mapping[int, str]]] = {
        "features": {0: "batch", 1: "time"},
        "lengths": {0: "batch"},
    }
    defaults: ClassVar[Mapping[str, Any]] = {
        "data": {
            "augment": [
                {"name": "change_speed", "probability": 0.85, "options": {"factor": [0.77, 1.3]}},
                {"name": "add_noise", "probability": 0.4},
                {"name": "add_silence", "probability": 0.3},
                {"name": "change_voice", "probability": 0.85},
                {"name": "mask_spectrum", "probability": 0.4},
            ]
        },
        "train": {"epochs": 30, "batch_size": 16, "learning_rate": 3e-3},
    }

    class State(base.State):
        """Characters, and how sound becomes features."""

        characters: tuple[str, ...]
        sample_rate: int = Field(16_000, ge=8_000, le=48_000)
        """Hz that all sound is resampled to."""
        mel_bands: int = Field(64, ge=8, le=128)
        lowercase: bool = True
        """Whether texts are compared and learned in lower case."""
        punctuation: bool = False
        """Whether texts keep signs other than letters, digits and apostrophes."""
        words: tuple[str, ...] = ()
        """The closed vocabulary; empty for an open one."""

    state: State

    @classmethod
    def prepare(cls, data: Data, model: Model, rows: Sequence[Row]) -> Self:
        """Learn the characters of the training texts, and the sample rate of the files when rows hold them."""
        own = own_options(model.input, INPUT, "model.input")
        rate = own["sample_rate"] or _common_rate(rows)
        if type(rate) is not int or not MIN_RATE <= rate <= 48_000:
            raise RecipeError(
                f"model.input.sample_rate: must be a whole number of Hz, {MIN_RATE} to 48000 (got {rate!r}).",
                pointer="model.input.sample_rate",
            )
        if not 8 <= own["mel_bands"] <= 128:
            raise RecipeError(
                f"model.input.mel_bands: must be 8 to 128 (got {own['mel_bands']}).", pointer="model.input.mel_bands"
            )
        texts = [normalise_text(str(row["text"]), own["lowercase"], own["punctuation"]) for row in rows]
        characters = tuple(sorted(set().union(*texts)))
        if not characters:
            raise DataError("The training texts hold no letters or digits. Is the text column right?")
        if len(characters) > MAX_CHARACTERS:
            raise DataError(
                f"The training texts hold {len(characters)} different characters (at most {MAX_CHARACTERS}). "
                "Is the text column right?"
            )
        words = _vocabulary(own.pop("vocabulary"), texts)
        return cls(cls.State(characters=characters, words=words, **{**own, "sample_rate": rate}))

    def architecture(self, model: Model) -> Architecture:
        """Bigray's ``cnn`` over mel bands."""
        dims = {
            "kind": "speech",
            "bands": self.state.mel_bands,
            "classes": len(self.state.characters) + 1,
            "stride": STRIDE,
        }
        return own_architecture(model, dims, default="cnn", known=("cnn",), task=self.name)

    def encode(self, rows: Sequence[Row]) -> Batch:
        """Return ``features`` (N, T, M) float32, padded with 0 after ``lengths`` (N,) int64 frames."""
        features = [self._features(row) for row in rows]
        lengths = np.array([len(row) for row in features], dtype=np.int64)
        batch = {"features": _pad(features, np.float32), "lengths": lengths}
        return batch | (self._targets(rows) if all("text" in row for row in rows) else {})

    def forward(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``logits`` (N, ceil(T / STRIDE), C)."""
        return {"logits": network(batch["features"], batch["lengths"])}

    def loss(
        self, outputs: Mapping[str, torch.Tensor], batch: Mapping[str, torch.Tensor], smoothing: float = 0.0
    ) -> torch.Tensor:
        """CTC loss per character, mean over rows; ``smoothing`` mixes in the cross-entropy to the uniform choice.

        Rows with too few steps for their text count 0 (their loss is infinite).
        """
        import torch
        from torch.nn import functional

        log_probs = outputs["logits"].float().log_softmax(-1)
        steps = (batch["lengths"] + STRIDE - 1) // STRIDE
        sizes = batch["target_lengths"]
        each = functional.ctc_loss(
            log_probs.transpose(0, 1), batch["targets"], steps, sizes, BLANK, reduction="none", zero_infinity=True
        )
        loss = (each / sizes.clamp(min=1)).mean()
        if not smoothing:
            return loss
        heard = torch.arange(log_probs.shape[1], device=steps.device)[None] < steps[:, None]
        return (1 - smoothing) * loss - smoothing * log_probs.mean(-1)[heard].mean()

    def decode(self, outputs: Batch, batch: Batch, parameters: Wire | None = None) -> list[Transcript]:
        """Return each row's text, and with ``return_timestamps`` when each word was said, in seconds.

        Times are those of the steps where the network says a word's characters, which lies within the word, not its
        exact edges.
        """
        timed = isinstance(parameters, TranscriptionParameters) and parameters.return_timestamps
        answers = []
        for logits, frames in zip(np.asarray(outputs["logits"]), batch["lengths"], strict=True):
            words = self._words(logits[: -(-int(frames) // STRIDE)])
            seconds = (int(frames) - 2 * MARGIN_FRAMES) * HOP_S
            chunks = [Chunk(text=word.text, timestamp=_times(word, seconds)) for word in words] if timed else None
            answers.append(Transcript(text=" ".join(word.text for word in words), chunks=chunks))
        return answers

    def score(self, answers: Sequence[Transcript], rows: Sequence[Row]) -> dict[str, float]:
        """Word and character error rate, and word accuracy (1 - wer), over all rows together."""
        said = [self._normalise(answer.text) for answer in answers]
        return metrics.transcription(said, [self._normalise(str(row["text"])) for row in rows])

    def example(self, count: int, size: int | None = None) -> list[Row]:
        """WAV files of ``size`` seconds (by default 1): tones that come and go, in noise."""
        rate = self.state.sample_rate
        time = np.arange((size or 1) * rate) / rate
        rows = []
        for number in range(count):
            rng = np.random.default_rng(number)
            tones = np.sin(2 * np.pi * rng.uniform(100, 2000, (4, 1)) * time) * np.sin(
                2 * np.pi * rng.uniform(1, 5, (4, 1)) * time
            )
            sound = 0.1 * tones.sum(0) + 0.01 * rng.standard_normal(len(time))
            rows.append({"audio": encode_wav(sound.astype(np.float32), rate)})
        return rows

    def keep(self, network: nn.Module) -> list[str]:
        """The layer that makes the logits."""
        return ["head"]

    def amounts(self, batch: Batch) -> dict[str, float]:
        """Seconds of sound."""
        frames = batch["lengths"].sum() - 2 * MARGIN_FRAMES * len(batch["lengths"])
        return {"audio_s": float(frames) * HOP_S}

    def item_bytes(self, row: Row) -> int:
        """Size of the file, or of the decoded samples."""
        audio = row["audio"]
        return audio[0].nbytes if isinstance(audio, tuple) else len(audio)

    def _features(self, row: Row) -> np.ndarray:
        samples = decode_audio(row["audio"], self.state.sample_rate)
        features = log_mel(samples, self.state.sample_rate, self.state.mel_bands)
        if options := row.get("change_voice"):
            features = change_voice(features, self.state.sample_rate, options)
        features = normalise(features)
        if options := row.get("mask_spectrum"):
            features = mask_spectrum(features, options)
        return np.pad(features, ((MARGIN_FRAMES, MARGIN_FRAMES), (0, 0)))

    def _targets(self, rows: Sequence[Row]) -> Batch:
        classes = {character: number for number, character in enumerate(self.state.characters, start=BLANK + 1)}
        texts = [self._normalise(str(row["text"])) for row in rows]
        # a character that training never saw has no class; it still counts as an error when answers are scored
        known = [np.array([classes[c] for c in text if c in classes], dtype=np.int64) for text in texts]
        sizes = np.array([len(row) for row in known], dtype=np.int64)
        return {"targets": _pad(known, np.int64), "target_lengths": sizes}

    def _normalise(self, text: str) -> str:
        return normalise_text(text, self.state.lowercase, self.state.punctuation)

    def _words(self, logits: np.ndarray) -> list[Word]:
        """Read the words of one row's steps (T, C)."""
        words = greedy_words(logits.argmax(-1).tolist(), self.state.characters)
        if not words or not self.state.words:
            return words
        scores = logits.astype(np.float64)
        scores -= scores.max(-1, keepdims=True)
        log_probs = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
        spelt = spell(self.state.words, self.state.characters)
        known = []
        for word in words:
            fit = log_likelihoods(log_probs[word.stretch], spelt)
            # a stretch of too few steps for any word of the vocabulary stays as it was heard
            known.append(replace(word, text=self.state.words[fit.argmax()]) if np.isfinite(fit).any() else word)
        return known


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


def _vocabulary(wanted: Literal["auto", "open", "closed"], texts: Sequence[str]) -> tuple[str, ...]:
    if wanted not in ("auto", "open", "closed"):
        raise RecipeError(
            f"model.input.vocabulary: must be auto, open or closed (got {wanted!r}).", pointer="model.input.vocabulary"
        )
    counts = Counter(word for text in texts for word in text.split())
    if wanted == "closed" and len(counts) > MAX_WORDS:
        raise RecipeError(
            f"model.input.vocabulary: the training texts hold {len(counts)} different words, and a closed vocabulary "
            f"may have {MAX_WORDS}. Choose open.",
            pointer="model.input.vocabulary",
        )
    few = len(counts) <= MAX_WORDS and counts.total() >= 20 * len(counts)
    return tuple(sorted(counts)) if wanted == "closed" or (wanted == "auto" and few) else ()


def _times(word: Word, seconds: float) -> tuple[float, float]:
    edges = np.array([word.first, word.last + 1]) * STRIDE - MARGIN_FRAMES
    start, end = np.clip(edges * HOP_S, 0.0, max(seconds, 0.0))
    return round(float(start), 3), round(float(end), 3)


def _pad(rows: Sequence[np.ndarray], kind: type[np.generic]) -> np.ndarray:
    """Stack arrays of different length, filled with 0."""
    padded = np.zeros((len(rows), max(len(row) for row in rows), *rows[0].shape[1:]), dtype=kind)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return padded


def _common_rate(rows: Sequence[Row]) -> int:
    rates = Counter(audio_rate(row["audio"]) for row in rows[:64] if "audio" in row)
    return min(16_000, rates.most_common(1)[0][0]) if rates else 16_000


TASK = AutomaticSpeechRecognition
