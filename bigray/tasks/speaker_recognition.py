"""Speaker recognition: a sound file in, a voice as a vector out, to be compared with others by its cosine.

Enrol a person by keeping the embeddings of some recordings; verify a claim by sending them along as ``reference``;
identify by sending a ``gallery`` of several people. Networks: bigray's own ``cnn`` over log-mels (an x-vector network,
trained from nothing); ``rnn``, the LSTM of GE2E over mel power, from nothing or with Resemblyzer's weights; or an
x-vector model of transformers (WavLMForXVector and its kin) by hub name or local folder, which hears the samples
themselves.

Every window has the same length: a shorter recording is repeated until it fills one, a longer one is cut into windows
that overlap by half, whose embeddings are averaged. Training, loss and scores: `bigray.tasks._embedding`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from bigray.errors import RecipeError
from bigray.models.base import Architecture, own_architecture, own_options
from bigray.recipe import Data, Model
from bigray.tasks import _speech
from bigray.tasks._embedding import EmbeddingState, EmbeddingTask, class_logits
from bigray.tasks.base import Batch, Row

if TYPE_CHECKING:
    import torch
    from torch import nn

INPUT: dict[str, Any] = {"sample_rate": 16_000, "mel_bands": 64, "window_s": 3.0, "spectrum": "log"}
"""Settings of ``model.input``; see `SpeakerRecognition.State`."""
GE2E = {"mel_bands": 40, "window_s": 1.6, "spectrum": "power"}
"""Those of ``rnn`` where they differ: what Resemblyzer's weights were trained on."""
LEVEL_DBFS = -30.0
"""Loudness that every recording is brought to before mel power is taken, as Resemblyzer does with quiet ones."""
MAX_WINDOWS = 20
"""Windows of one recording. In a longer one they are spread evenly: half a minute of a voice says who it is, and memory
must not grow with the length."""
QUIET_DB = 30.0
"""A window this far below the loudest one of its recording is taken for a pause and left out."""


class SpeakerRecognition(EmbeddingTask):
    """See the module's text."""

    name = "speaker_recognition"
    truth = "speaker"
    fields: ClassVar[Mapping[str, str]] = {"audio": "a sound file", "speaker": "who speaks"}
    inputs = ("features",)
    dynamic: ClassVar[Mapping[str, Mapping[int, str]]] = {"features": {0: "batch"}}
    defaults: ClassVar[Mapping[str, Any]] = {
        "data": {
            "group_by": "speaker",
            "augment": [
                {"name": "excerpt", "probability": 1.0},
                {"name": "add_noise", "probability": 0.4},
                {"name": "mask_spectrum", "probability": 0.4},
            ],
        },
        "train": {"epochs": 30, "batch_size": 32, "learning_rate": 3e-3},
    }

    class State(EmbeddingState):
        """Also how sound becomes features."""

        sample_rate: int = Field(16_000, ge=8_000, le=48_000)
        """Hz that all sound is resampled to."""
        mel_bands: int = Field(64, ge=8, le=128)
        window_s: float = Field(3.0, ge=0.5, le=30)
        """Length of a window in seconds."""
        spectrum: Literal["log", "power"] = "log"
        """What a mel band holds: the logarithm of its power, normalised over the window; or the power itself."""
        waveform: bool = False
        """Whether the network hears samples, not mel bands."""

    state: State

    @property
    def model_type(self) -> str | None:  # type: ignore[override]
        """Those of the transformers library have attention."""
        return "transformer" if self.state.waveform else None

    @classmethod
    def prepare(cls, data: Data, model: Model, rows: Sequence[Row]) -> Self:
        """Learn who is in training."""
        usual = INPUT | GE2E if (model.source, model.name) == ("bigray", "rnn") else INPUT
        own = own_options(model.input, usual, "model.input")
        for key, low, high in (("sample_rate", 8_000, 48_000), ("mel_bands", 8, 128), ("window_s", 0.5, 30)):
            if not low <= own[key] <= high:
                raise RecipeError(
                    f"model.input.{key}: must be {low} to {high} (got {own[key]}).", pointer=f"model.input.{key}"
                )
        if own["spectrum"] not in ("log", "power"):
            raise RecipeError(
                f"model.input.spectrum: must be log or power (got {own['spectrum']!r}).", pointer="model.input.spectrum"
            )
        waveform = model.source == "transformers"
        return cls(cls.State(identities=cls.known_identities(rows), waveform=waveform, **own))

    def architecture(self, model: Model) -> Architecture:
        """Bigray's ``cnn`` or ``rnn`` over mel bands, or an x-vector model of transformers with new classes."""
        if model.source == "transformers":
            from bigray.models import pretrained

            return pretrained.classifier("AutoModelForAudioXVector", model, self.state.identities)
        dims = {"kind": "voice", "bands": self.state.mel_bands, "identities": len(self.state.identities)}
        return own_architecture(model, dims, default="cnn", known=("cnn", "rnn"), task=self.name)

    def encode(self, rows: Sequence[Row]) -> Batch:
        """Return ``features``, (W, T, M) mel bands or (W, S) samples, float32, and ``row`` (W,) int64."""
        windows = [self._windows(row) for row in rows]
        counts = [len(one) for one in windows]
        batch = {"features": np.concatenate(windows), "row": np.repeat(np.arange(len(rows)), counts)}
        return batch | {name: np.repeat(values, counts) for name, values in self.targets(rows).items()}

    def forward(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``vector`` (W, D), and in training ``logits`` (W, C)."""
        output = network(batch["features"])
        embedding = output.embeddings if self.state.waveform else output
        if not network.training:
            return {"vector": embedding}
        weight = network.objective.weight.T if self.state.waveform else network.classes.weight  # type: ignore[union-attr]
        return {"vector": embedding, "logits": class_logits(embedding, weight)}  # type: ignore[arg-type]

    def example(self, count: int, size: int | None = None) -> list[Row]:
        """WAV files of ``size`` seconds (by default one window): hums of different pitch, in noise."""
        rate = self.state.sample_rate
        time = np.arange(round((size or self.state.window_s) * rate)) / rate
        rows = []
        for number in range(count):
            rng = np.random.default_rng(number)
            pitch = rng.uniform(80, 250)
            hum = sum(np.sin(2 * np.pi * pitch * part * time) / part for part in range(1, 12))
            sound = 0.1 * hum * (1 + np.sin(2 * np.pi * 3 * time)) + 0.01 * rng.standard_normal(len(time))
            rows.append({"audio": _speech.encode_wav(sound.astype(np.float32), rate)})
        return rows

    def keep(self, network: nn.Module) -> list[str]:
        """The layer that makes the embedding and the classes; of x-vector models also those that are read as filters."""
        if not self.state.waveform:
            return ["linear" if hasattr(network, "linear") else "head", "classes"]
        return ["projector", "tdnn", "feature_extractor", "classifier"]

    def amounts(self, batch: Batch) -> dict[str, float]:
        """Seconds of sound, whole windows."""
        return {"audio_s": len(batch["features"]) * self.state.window_s}

    def item_bytes(self, row: Row) -> int:
        """Size of the file, or of the decoded samples."""
        audio = row["audio"]
        return audio[0].nbytes if isinstance(audio, tuple) else len(audio)

    def _windows(self, row: Row) -> np.ndarray:
        """Return the features of one recording's windows."""
        samples = _speech.decode_audio(row["audio"], self.state.sample_rate)
        if self.state.spectrum == "power" and not self.state.waveform:  # which, unlike the others, hears how loud it is
            samples = at_level(samples, LEVEL_DBFS)
        return np.stack([self._features(piece, row) for piece in cut(samples, self._window)])

    @property
    def _window(self) -> int:
        """Samples in a window: a whole number of hops."""
        _, hop = _speech.frame_sizes(self.state.sample_rate)
        return round(self.state.window_s / _speech.HOP_S) * hop

    def _features(self, samples: np.ndarray, row: Row) -> np.ndarray:
        if self.state.waveform:  # as Wav2Vec2FeatureExtractor does
            return np.asarray((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7), dtype=np.float32)
        rate, power = self.state.sample_rate, self.state.spectrum == "power"
        make = _speech.mel_power if power else _speech.log_mel
        features = make(samples, rate, self.state.mel_bands)
        if options := row.get("change_voice"):
            level = np.log10(np.maximum(features, 1e-10)) / 2 if power else features
            level = _speech.change_voice(level, rate, options)
            features = 10 ** (2 * level) if power else level
        features = features if power else _speech.normalise(features)
        return _speech.mask_spectrum(features, options) if (options := row.get("mask_spectrum")) else features


def at_level(samples: np.ndarray, level_dbfs: float) -> np.ndarray:
    """Return samples (S,) whose root mean square is ``level_dbfs`` decibels under full scale; silence stays."""
    peak = float(np.abs(samples).max())  # divided by first, so that no square overflows or vanishes
    if not peak:
        return samples
    shape = samples / peak
    return np.asarray(shape * (10 ** (level_dbfs / 20) / np.sqrt(np.square(shape).mean())), dtype=np.float32)


def cut(samples: np.ndarray, window: int) -> list[np.ndarray]:
    """Return windows (window,) of a recording (S,): it is repeated when shorter, else cut with an overlap of half.

    The first window begins where the recording begins and the last one ends where it ends. There are `MAX_WINDOWS` at
    most; pauses (`QUIET_DB`) are left out.
    """
    if len(samples) <= window:
        return [np.resize(samples, window)]
    count = min(MAX_WINDOWS, 1 + -(-2 * (len(samples) - window) // window))
    starts = np.linspace(0, len(samples) - window, count).round().astype(np.int64)
    pieces = [samples[start : start + window] for start in starts]
    power = np.array([float(np.square(piece, dtype=np.float64).mean()) for piece in pieces])
    loud = power >= power.max() * 10 ** (-QUIET_DB / 10)
    return [piece for piece, keep in zip(pieces, loud, strict=True) if keep]


TASK = SpeakerRecognition
