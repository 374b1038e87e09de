"""Speech recognition: a sound file in, the words said out.

Three kinds of networks. Bigray's own ``cnn`` reads the log-mel spectrogram and says, every 20 ms, which character is heard,
or none (the blank); networks of transformers that were trained likewise (Wav2Vec2, HuBERT, WavLM) hear the samples
themselves; Whisper writes the text token by token (see `_whisper`). Connectionist temporal classification (CTC, Graves et
al. 2006) trains the first two on texts without any alignment, by summing over every way the characters could lie in time.
The answer is the best character of each step, with repeats merged and blanks dropped; with a closed vocabulary each word
heard becomes the likeliest word of the training texts. The characters are those of the training texts or of the
checkpoint. Recordings of any length are heard in windows (see `_recordings`). Wire form:
https://huggingface.co/docs/inference-providers/tasks/automatic-speech-recognition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from bigray.errors import DataError, RecipeError
from bigray.models.base import Architecture, own_architecture, own_options
from bigray.recipe import Data, Model
from bigray.schemas import Chunk, Wire
from bigray.tasks import _waveform, base
from bigray.tasks._ctc import BLANK, Word, greedy_words, log_likelihoods, spell
from bigray.tasks._recordings import Heard
from bigray.tasks._speech import (
    HOP_S,
    MIN_RATE,
    audio_rate,
    change_voice,
    decode_audio,
    log_mel,
    mask_spectrum,
    normalise,
)
from bigray.tasks._text import TOKENIZER_FILE
from bigray.tasks._transcription import Transcription, normalise_text, pad
from bigray.tasks.base import Batch, Graph, Row, Run

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


class AutomaticSpeechRecognition(Transcription):
    """See the module's text. Targets: ``targets`` (N, L) int64, classes of the characters; ``target_lengths`` (N,)."""

    timed = True
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
        "compress": {"methods": ["prune_structured", "shorten_window", "quantize_static", "quantize_dynamic"]},
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
        window_s: float = Field(30.0, ge=1, le=600)
        """A longer recording is heard in windows of at most so many seconds."""
        overlap_s: float = Field(4.0, ge=0.5, le=60)
        """Seconds that neighbouring windows share where nobody pauses."""
        kernels: tuple[int, ...] = ()
        """Samples that the convolutions of a network over samples see; empty for one over mel bands."""
        strides: tuple[int, ...] = ()
        blank: int = 0
        """Class of the blank in the network's own order."""
        normalised: bool = True
        """Whether samples are scaled to a deviation of 1."""
        masked: bool = False
        """Whether the network was trained with a mask over padding."""
        uppercase: bool = False
        """Whether the characters are capital letters."""

    state: State

    @classmethod
    def prepare(cls, data: Data, model: Model, rows: Sequence[Row]) -> Self:
        """Learn the characters of the training texts, and the sample rate of the files when rows hold them.

        With source transformers both come from the checkpoint, and a Whisper becomes a `_whisper.Whisper`.
        """
        if model.source == "transformers":
            return cls._pretrained(model)
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
        """Bigray's ``cnn`` over mel bands, or a CTC network of transformers."""
        if model.source == "transformers":
            from bigray.models import pretrained

            return pretrained.describe("AutoModelForCTC", model)
        dims = {
            "kind": "speech",
            "bands": self.state.mel_bands,
            "classes": len(self.state.characters) + 1,
            "stride": STRIDE,
        }
        return own_architecture(model, dims, default="cnn", known=("cnn",), task=self.name)

    @property
    def waveform(self) -> bool:
        """Whether the network hears samples."""
        return bool(self.state.kernels)

    @property
    def model_type(self) -> str | None:  # type: ignore[override]
        """Those over samples have attention."""
        return "transformer" if self.waveform else None

    @property
    def rate(self) -> int:  # type: ignore[override]
        """Hz that all sound is resampled to."""
        return self.state.sample_rate

    @property
    def window_s(self) -> float:  # type: ignore[override]
        """Longest window."""
        return self.state.window_s

    @property
    def overlap_s(self) -> float:  # type: ignore[override]
        """What windows share where nobody pauses."""
        return self.state.overlap_s

    def encode(self, rows: Sequence[Row]) -> Batch:
        """Return ``features``, (N, T, M) mel bands or (N, S) samples, float32, padded with 0 after ``lengths`` (N,)."""
        features = [self._features(row) for row in rows]
        lengths = np.array([len(row) for row in features], dtype=np.int64)
        batch = {"features": pad(features, np.float32), "lengths": lengths, **self.places(rows)}
        return batch | (self._targets(rows) if all("text" in row for row in rows) else {})

    def forward(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``logits`` (N, T', C), the blank first."""
        features = batch["features"]
        if not self.waveform:
            return {"logits": network(features, batch["lengths"])}
        mask = None
        if network.training and self.state.masked:  # answers are made row by row, without padding
            import torch

            mask = (torch.arange(features.shape[1], device=features.device) < batch["lengths"][:, None]).long()
        return {"logits": _waveform.blank_first(network(features, attention_mask=mask).logits, self.state.blank)}

    @property
    def graphs(self) -> Mapping[str, Graph]:
        """One graph; networks over samples take no lengths."""
        if not self.waveform:
            return super().graphs
        return {"": Graph(self.forward, ("features",), self.outputs, {"features": {0: "batch", 1: "time"}})}

    def infer(self, run: Run, batch: Batch, parameters: Wire | None = None) -> Batch:
        """Run the network; over samples row by row, as its norms would see the padding of others."""
        if not self.waveform:
            return run(batch)
        each = [
            run({"features": row[None, :length]})["logits"][0]
            for row, length in zip(batch["features"], batch["lengths"], strict=True)
        ]
        return {"logits": pad(each, np.float32)}

    def loss(
        self, outputs: Mapping[str, torch.Tensor], batch: Mapping[str, torch.Tensor], smoothing: float = 0.0
    ) -> torch.Tensor:
        """CTC loss per character, mean over rows; ``smoothing`` mixes in the cross-entropy to the uniform choice.

        Rows with too few steps for their text count 0 (their loss is infinite).
        """
        import torch
        from torch.nn import functional

        log_probs = outputs["logits"].float().log_softmax(-1)
        steps = self._steps(batch["lengths"])
        sizes = batch["target_lengths"]
        each = functional.ctc_loss(
            log_probs.transpose(0, 1), batch["targets"], steps, sizes, BLANK, reduction="none", zero_infinity=True
        )
        loss = (each / sizes.clamp(min=1)).mean()
        if not smoothing:
            return loss
        heard = torch.arange(log_probs.shape[1], device=steps.device)[None] < steps[:, None]
        return (1 - smoothing) * loss - smoothing * log_probs.mean(-1)[heard].mean()

    def decode(self, outputs: Batch, batch: Batch, parameters: Wire | None = None) -> list[Heard]:
        """Return the words of each row or window, with their times in seconds.

        Times are those of the steps where the network says a word's characters, which lies within the word, not its
        exact edges.
        """
        found = []
        nowhere = np.zeros(len(batch["lengths"]))
        places = zip(batch.get("begin_s", nowhere), batch.get("overlap_s", nowhere), strict=True)
        for logits, frames, (begin_s, overlap_s) in zip(
            np.asarray(outputs["logits"]), batch["lengths"], places, strict=True
        ):
            words = self._words(logits[: int(self._steps(frames))])
            chunks = tuple(
                Chunk(text=word.text, timestamp=self._times(word, int(frames), float(begin_s))) for word in words
            )
            found.append(Heard(" ".join(word.text for word in words), chunks, float(begin_s), float(overlap_s)))
        return found

    def keep(self, network: nn.Module) -> list[str]:
        """The layer that makes the logits; of networks over samples also those that are read as filters."""
        return ["lm_head", "feature_extractor", "feature_projection", "pos_conv_embed"] if self.waveform else ["head"]

    def normalise(self, text: str) -> str:
        """Return the text as it is learned and compared (see `normalise_text`)."""
        return normalise_text(text, self.state.lowercase, self.state.punctuation)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read back what `save` wrote; only Whisper has a tokenizer."""
        if (directory / TOKENIZER_FILE).is_file():
            from bigray.tasks._whisper import Whisper

            return Whisper.load(directory)  # type: ignore[return-value]
        return super().load(directory)

    @classmethod
    def _pretrained(cls, model: Model) -> Self:
        from bigray.models import pretrained
        from bigray.tasks import _whisper

        pretrained.require_name(model)
        if pretrained.configuration(model.name)["model_type"] == "whisper":
            return _whisper.Whisper.of(model)  # type: ignore[return-value]
        own = own_options(model.input, {"window_s": 30.0, "overlap_s": 4.0}, "model.input")
        return cls(cls.State(**_waveform.learned(model), **own))

    def _steps(self, lengths: Any) -> Any:
        """Return the steps of rows, of arrays of numpy or torch."""
        if self.waveform:
            return _waveform.steps(lengths, self.state.kernels, self.state.strides)
        return (lengths + STRIDE - 1) // STRIDE

    def amounts(self, batch: Batch) -> dict[str, float]:
        """Seconds of sound."""
        lengths = batch["lengths"]
        if self.waveform:
            return {"audio_s": float(lengths.sum()) / self.state.sample_rate}
        return {"audio_s": float(lengths.sum() - 2 * MARGIN_FRAMES * len(lengths)) * HOP_S}

    def _features(self, row: Row) -> np.ndarray:
        samples = decode_audio(row["audio"], self.state.sample_rate)
        if self.waveform:
            state = self.state
            return _waveform.prepared(samples, state.kernels, state.strides, normalised=state.normalised)
        features = log_mel(samples, self.state.sample_rate, self.state.mel_bands)
        if options := row.get("change_voice"):
            features = change_voice(features, self.state.sample_rate, options)
        features = normalise(features)
        if options := row.get("mask_spectrum"):
            features = mask_spectrum(features, options)
        return np.pad(features, ((MARGIN_FRAMES, MARGIN_FRAMES), (0, 0)))

    def _targets(self, rows: Sequence[Row]) -> Batch:
        classes = {character: number for number, character in enumerate(self.state.characters, start=BLANK + 1)}
        texts = [self.normalise(str(row["text"])) for row in rows]
        if self.state.uppercase:
            texts = [text.upper() for text in texts]
        # a character that training never saw has no class; it still counts as an error when answers are scored
        known = [np.array([classes[c] for c in text if c in classes], dtype=np.int64) for text in texts]
        sizes = np.array([len(row) for row in known], dtype=np.int64)
        return {"targets": pad(known, np.int64), "target_lengths": sizes}

    def _times(self, word: Word, frames: int, begin_s: float) -> tuple[float, float]:
        if self.waveform:
            frame_s, stride, margin = 1 / self.state.sample_rate, int(np.prod(self.state.strides)), 0
        else:
            frame_s, stride, margin = HOP_S, STRIDE, MARGIN_FRAMES
        edges = np.array([word.first, word.last + 1]) * stride - margin
        start, end = begin_s + np.clip(edges * frame_s, 0.0, max((frames - 2 * margin) * frame_s, 0.0))
        return round(float(start), 3), round(float(end), 3)

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


def _common_rate(rows: Sequence[Row]) -> int:
    rates = Counter(audio_rate(row["audio"]) for row in rows[:64] if "audio" in row)
    return min(16_000, rates.most_common(1)[0][0]) if rates else 16_000


TASK = AutomaticSpeechRecognition
