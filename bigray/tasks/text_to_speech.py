"""Text to speech: a text in, one voice saying it out.

A network turns characters into a mel spectrogram in one pass: it says how many frames each character lasts, repeats what
it knows of the character so many times, and draws the frames from that (FastSpeech; `bigray.models.fastspeech`). Sound is
made of the spectrogram without a further network, by Griffin-Lim (`_vocoder`). Recordings and their texts are all that
training needs: which stretch belongs to which character is learned along the way. Text is read letter by letter, in any
language; digits are spoken as the training texts taught it, so numbers are better written as words.

A VITS checkpoint of transformers, which makes sound itself, can be compressed and served in the same way (``train.epochs:
0``: it was trained against a discriminator that checkpoints do not hold). Exported are two graphs, what is said and how
it sounds; between them stands the length regulator, in numpy. Long texts are spoken sentence by sentence. Wire form:
https://huggingface.co/docs/inference-providers/tasks/text-to-speech.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from bigray import metrics
from bigray.errors import InvalidInput, RecipeError
from bigray.models.base import Architecture, own_architecture, own_options
from bigray.recipe import Data, Model
from bigray.schemas import Speech, SpeechParameters, Wire
from bigray.tasks import _sound, _vocoder, base
from bigray.tasks._regulator import regulate
from bigray.tasks._speech import MIN_RATE, audio_rate, decode_audio
from bigray.tasks._spelling import Spelling, pieces
from bigray.tasks._text import check_text
from bigray.tasks.base import Batch, Graph, Metric, Row, Run

if TYPE_CHECKING:
    import torch
    from torch import nn

INPUT: dict[str, Any] = {
    "sample_rate": None,
    "mel_bands": 80,
    "lowercase": True,
    "max_characters": 200,
    "max_seconds": 15.0,
    "vocoder_rounds": 32,
}
"""Settings of ``model.input``; see `TextToSpeech.State`. ``sample_rate`` is by default that of the training files, at most
24 kHz. Recordings longer than ``max_seconds`` are not learned from: cut them where sentences end."""
TOP_RATE = 24_000
PAUSE_S = 0.2
"""Silence between sentences that were spoken one by one."""
SCORING_ROUNDS = 8
"""Rounds of Griffin-Lim when answers are scored: a distance of spectra hardly hears the others."""
DURATION_WEIGHT = ALIGNMENT_WEIGHT = 0.1


class TextToSpeech(base.Task):
    """See the module's text. Targets: ``mel`` (N, F, M) float32, standardised per band; ``mel_lengths`` (N,)."""

    name = "text_to_speech"
    fields: ClassVar[Mapping[str, str]] = {"text": "what is said", "audio": "a recording of it"}
    primary = Metric("mcd", higher_is_better=False)
    inputs = ("tokens", "token_lengths", "mel", "mel_lengths")
    outputs = ("mel", "log_durations", "durations", "scores")
    dynamic: ClassVar[Mapping[str, Mapping[int, str]]] = {
        "tokens": {0: "batch", 1: "characters"},
        "token_lengths": {0: "batch"},
    }
    defaults: ClassVar[Mapping[str, Any]] = {
        "train": {"epochs": 100, "batch_size": 16, "learning_rate": 2e-3},
        "compress": {"methods": ["quantize_dynamic", "bfloat16"], "max_drop": 2.0, "max_drop_unit": "percent"},
    }

    class State(base.State):
        """How texts become tokens, and spectrograms sound."""

        spelling: Spelling
        sample_rate: int = Field(16_000, ge=8_000, le=48_000)
        """Hz of the voice."""
        mel_bands: int = Field(80, ge=20, le=128)
        mel_mean: tuple[float, ...] = ()
        """Mean of each band in the recordings looked at, in natural logarithms of amplitude."""
        mel_deviation: tuple[float, ...] = ()
        max_characters: int = Field(200, ge=10, le=2000)
        """Of one piece of text that is spoken in one go."""
        max_seconds: float = Field(15.0, ge=1, le=60)
        """Longest recording learned from."""
        vocoder_rounds: int = Field(32, ge=0, le=500)
        """Rounds of Griffin-Lim."""
        makes_sound: bool = False
        """Whether the network itself makes sound (VITS)."""
        noise_scale: float = 0.0
        """Deviation of what such a network draws its sound from."""
        pace: float = Field(1.0, gt=0)
        """How many times faster such a network speaks than it was trained to."""

    state: State

    @classmethod
    def prepare(cls, data: Data, model: Model, rows: Sequence[Row]) -> Self:
        """Learn the characters of the training texts, and rate and loudness of the recordings that rows hold."""
        own = own_options(model.input, INPUT, "model.input")
        for key, low, high in (
            ("mel_bands", 20, 128),
            ("max_characters", 10, 2000),
            ("max_seconds", 1, 60),
            ("vocoder_rounds", 0, 500),
        ):
            if not low <= own[key] <= high:
                raise RecipeError(
                    f"model.input.{key}: must be {low} to {high} (got {own[key]!r}).", pointer=f"model.input.{key}"
                )
        if model.source == "transformers":
            return cls(cls.State(**_checkpoint(model), max_characters=own["max_characters"]))
        heard = [row for row in rows if "audio" in row]
        rate = own["sample_rate"] or min(TOP_RATE, max((audio_rate(row["audio"]) for row in heard), default=16_000))
        if type(rate) is not int or not MIN_RATE <= rate <= 48_000:
            raise RecipeError(
                f"model.input.sample_rate: must be a whole number of Hz, {MIN_RATE} to 48000 (got {rate!r}).",
                pointer="model.input.sample_rate",
            )
        spelling = Spelling.of([str(row["text"]) for row in rows], own.pop("lowercase"))
        longest = max(len(spelling.clean(str(row["text"]))) for row in rows)
        own["max_characters"] = max(40, min(own["max_characters"], longest))
        found = [_vocoder.mel_spectrogram(decode_audio(row["audio"], rate), rate, own["mel_bands"]) for row in heard]
        frames = np.concatenate(found) if found else np.zeros((1, own["mel_bands"]))
        known = {
            "mel_mean": tuple(np.round(frames.mean(0), 4).tolist()),
            "mel_deviation": tuple(np.round(np.maximum(frames.std(0), 0.1), 4).tolist()),
        }
        return cls(cls.State(spelling=spelling, **{**own, "sample_rate": rate}, **known))

    def architecture(self, model: Model) -> Architecture:
        """Bigray's ``fastspeech``, or a VITS checkpoint."""
        if model.source == "transformers":
            from bigray.models import pretrained

            return pretrained.describe("AutoModelForTextToWaveform", model)
        dims = {"kind": "voice", "vocabulary": self.state.spelling.size, "bands": self.state.mel_bands}
        return own_architecture(model, dims, default="fastspeech", known=("fastspeech",), task=self.name)

    def split(self, row: Row, parameters: Wire | None = None) -> Iterator[Row]:
        """Yield the text piece by piece: whole, or sentences that fit, cut between words only where one does not."""
        whole = self.state.spelling.clean(check_text(row["text"]))
        if not any(map(str.isalnum, whole)):
            raise InvalidInput(
                "The text holds no letter or digit that this voice has learned to say.", code="unspeakable_text"
            )
        for piece in pieces(whole, self.state.max_characters):
            yield {"text": piece}

    def merge(self, row: Row, found: Sequence[np.ndarray], parameters: Wire | None = None) -> Speech:
        """Join the sound of the pieces, with a short silence in between."""
        rate = self.state.sample_rate
        pause = np.zeros(round(PAUSE_S * rate), dtype=np.float32)
        parts = [part for samples in found for part in (pause, samples)][1:]
        return Speech(audio=_sound.write(np.concatenate(parts), rate, "wav"), sampling_rate=rate)

    def encode(self, rows: Sequence[Row]) -> Batch:
        """Return ``tokens`` (N, T) int64, padded with 0 after ``token_lengths`` (N,); recordings as targets.

        A recording that is too long to learn from counts as one without characters and frames.
        """
        lines = [self.state.spelling.tokens(check_text(row["text"])[: 4 * self.state.max_characters]) for row in rows]
        if self.state.makes_sound or not all("audio" in row for row in rows):
            return _padded(lines)
        mels = [self._mel(row["audio"]) for row in rows]
        batch = _padded([line if len(mel) else [] for line, mel in zip(lines, mels, strict=True)])
        lengths = np.array([len(mel) for mel in mels], dtype=np.int64)
        frames = np.zeros((len(mels), max(1, lengths.max()), self.state.mel_bands), dtype=np.float32)
        for place, mel in zip(frames, mels, strict=True):
            place[: len(mel)] = mel
        return {**batch, "mel": frames, "mel_lengths": lengths}

    def forward(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Say the recorded rows again with their own durations; see `bigray.models.fastspeech.FastSpeech.forward`."""
        if self.state.makes_sound:
            raise RecipeError(
                "train.epochs: a VITS checkpoint is used as it is; set it to 0. Without a checkpoint, leave out model.source "
                "and bigray trains a voice of its own.",
                pointer="train.epochs",
            )
        return network(*(batch[name] for name in self.inputs))  # type: ignore[no-any-return]

    @property
    def graphs(self) -> Mapping[str, Graph]:
        """What answers: "" reads the text, ``sound`` draws the frames."""
        names = {"hidden": {0: "batch", 1: "frames"}, "place": {0: "batch", 1: "frames"}, "frames": {0: "batch"}}
        return {
            "": Graph(self._read, ("tokens", "token_lengths"), ("hidden", "log_durations"), self.dynamic),
            "sound": Graph(self._draw, tuple(names), ("drawn",), names, self._regulate),
        }

    def infer(self, run: Run, batch: Batch, parameters: Wire | None = None) -> Batch:
        """Return ``drawn``, mel frames (N, F, M) or samples (N, S), and how many ``frames`` (N,) are a row's own."""
        feed = self._regulate(batch, run(batch), _wanted(parameters).speed or 1.0)
        if not self.state.makes_sound:
            return {**run(feed, "sound"), "frames": feed["frames"]}
        # the layers that make sound know no masks: the end of a row would hear what it is padded with
        alone = [
            run(
                {name: feed[name][row : row + 1, : feed["frames"][row]] for name in ("hidden", "place")}
                | {"frames": feed["frames"][row : row + 1]},
                "sound",
            )["drawn"][0]
            for row in range(len(feed["frames"]))
        ]
        drawn = np.zeros((len(alone), max(map(len, alone))), dtype=np.float32)
        for place, one in zip(drawn, alone, strict=True):
            place[: len(one)] = one
        return {"drawn": drawn, "frames": feed["frames"]}

    def decode(self, outputs: Batch, batch: Batch, parameters: Wire | None = None) -> list[np.ndarray]:
        """Return the samples (S,) of each piece."""
        rounds, state = _wanted(parameters).vocoder_rounds, self.state
        found = []
        for drawn, frames in zip(outputs["drawn"], outputs["frames"].tolist(), strict=True):
            if state.makes_sound:
                found.append(np.clip(drawn[: frames * (len(drawn) // outputs["frames"].max())], -1, 1))
                continue
            mel = drawn[:frames] * np.array(state.mel_deviation) + np.array(state.mel_mean)
            rounds = state.vocoder_rounds if rounds is None else rounds
            found.append(_vocoder.griffin_lim(mel, state.sample_rate, rounds))
        return found

    def loss(
        self, outputs: Mapping[str, torch.Tensor], batch: Mapping[str, torch.Tensor], smoothing: float = 0.0
    ) -> torch.Tensor:
        """Mean distance of frames, plus that of log durations squared, plus the loss of the alignment."""
        import torch

        from bigray.models import _alignment

        frames, characters = batch["mel_lengths"], batch["token_lengths"]
        own = torch.arange(batch["mel"].shape[1], device=frames.device)[None] < frames[:, None]
        said = torch.arange(batch["tokens"].shape[1], device=frames.device)[None] < characters[:, None]
        far = (outputs["mel"] - batch["mel"]).abs().mean(2)
        true = outputs["durations"].clamp(min=1).log()
        off = (outputs["log_durations"] - true).square()
        return (
            (far * own).sum() / own.sum().clamp(min=1)
            + DURATION_WEIGHT * (off * said).sum() / said.sum().clamp(min=1)
            + ALIGNMENT_WEIGHT * _alignment.all_paths_loss(outputs["scores"], frames, characters)
        )

    def distance(
        self,
        outputs: Mapping[str, torch.Tensor],
        taught: Mapping[str, torch.Tensor],
        batch: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """Frames and durations only: the teacher's scores of an alignment mean nothing to a student."""
        names = ("mel", "log_durations")
        return super().distance({n: outputs[n] for n in names}, {n: taught[n] for n in names}, batch)

    def score(self, answers: Sequence[Speech], rows: Sequence[Row]) -> dict[str, float]:
        """Mel-cepstral distance to the recordings in dB (``mcd``), distance of the spectrograms in dB, error in length."""
        found = np.array([self._distance(one.audio, row["audio"]) for one, row in zip(answers, rows, strict=True)])
        return dict(zip(("mcd", "mel_distance", "length_error"), found.reshape(-1, 3).mean(0).tolist(), strict=True))

    def for_scoring(self) -> Wire | None:
        """Fewer rounds of Griffin-Lim."""
        return None if self.state.makes_sound else SpeechParameters(vocoder_rounds=SCORING_ROUNDS)

    def example(self, count: int, size: int | None = None) -> list[Row]:
        """Texts of ``size`` words (by default 8, 12 at most), made of the letters that the voice knows."""
        letters = [one for one in self.state.spelling.characters if one.isalnum()] or ["a"]
        rng = np.random.default_rng(0)
        length = min(max(1, size or 8), 12)
        words = ["".join(rng.choice(letters, 5)) for _ in range(length + count)]
        return [{"text": " ".join(words[start : start + length])} for start in range(count)]

    def keep(self, network: nn.Module) -> list[str]:
        """The layers that make frames and durations."""
        return ["head", "duration_head"]

    def _read(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if self.state.makes_sound:
            from bigray.models import _vits

            return _vits.encode(network, batch["tokens"], batch["token_lengths"])
        return network.encode(batch["tokens"], batch["token_lengths"])  # type: ignore[no-any-return, operator]

    def _draw(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if self.state.makes_sound:
            from bigray.models import _vits

            return {"drawn": _vits.decode(network, batch["hidden"], batch["frames"])}
        return {"drawn": network.decode(batch["hidden"], batch["place"], batch["frames"])}  # type: ignore[operator]

    def _regulate(self, batch: Batch, outputs: Batch, speed: float = 1.0) -> Batch:
        state = self.state
        return regulate(batch, outputs, speed * state.pace, state.noise_scale if state.makes_sound else None)

    def _mel(self, audio: Any) -> np.ndarray:
        """Return the standardised spectrogram (F, M), without frames when the recording is too long."""
        state = self.state
        samples = decode_audio(audio, state.sample_rate)
        if len(samples) > state.max_seconds * state.sample_rate:
            return np.zeros((0, state.mel_bands), dtype=np.float32)
        mel = _vocoder.mel_spectrogram(samples, state.sample_rate, state.mel_bands)
        return np.asarray((mel - state.mel_mean) / state.mel_deviation, dtype=np.float32)

    def _distance(self, said: bytes, truth: bytes) -> tuple[float, float, float]:
        rate, bands = self.state.sample_rate, self.state.mel_bands

        def mel(audio: bytes) -> np.ndarray:
            return _vocoder.mel_spectrogram(decode_audio(audio, rate), rate, bands)

        return metrics.synthesis(said, truth, mel)


def _checkpoint(model: Model) -> dict[str, Any]:
    """Return what the state takes from a VITS checkpoint; raises as `pretrained.vits`."""
    from bigray.models import pretrained

    found = pretrained.vits(model)
    spelling = Spelling(
        characters=found["characters"],
        lowercase=found["normalize"],
        edge=None,
        between=0 if found["add_blank"] else None,
    )
    config = found["config"]
    return {
        "spelling": spelling,
        "sample_rate": config["sampling_rate"],
        "noise_scale": config["noise_scale"],
        "pace": config["speaking_rate"],
        "makes_sound": True,
    }


def _wanted(parameters: Wire | None) -> SpeechParameters:
    return parameters if isinstance(parameters, SpeechParameters) else SpeechParameters()


def _padded(lines: Sequence[Sequence[int]]) -> Batch:
    tokens = np.zeros((len(lines), max(1, *map(len, lines))), dtype=np.int64)
    for row, line in zip(tokens, lines, strict=True):
        row[: len(line)] = line
    return {"tokens": tokens, "token_lengths": np.array([len(line) for line in lines], dtype=np.int64)}


TASK = TextToSpeech
