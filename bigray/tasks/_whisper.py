"""Whisper (Radford et al. 2022, arXiv 2212.04356) for speech recognition: an encoder-decoder that writes the text.

It hears 30 s at a time, less being filled up with silence, and writes token by token with two exported graphs: one that
hears and begins, one that takes a step with what earlier steps left (see `_generate`). A longer recording is cut at pauses,
or with an overlap where there are none (see `_recordings`). Its words have no times; ``return_timestamps`` tells those of
the windows. Features and rules are those of transformers' WhisperFeatureExtractor and generation config.

Sizes: N windows, M mel bands, F frames of 10 ms, L tokens, C vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field
from tokenizers import Tokenizer

from bigray.errors import DataError, RecipeError
from bigray.models.base import Architecture, own_options
from bigray.recipe import Data, Model
from bigray.schemas import Chunk, Wire
from bigray.tasks import base
from bigray.tasks._generate import NEW, PAST, SOURCE, Search, generate
from bigray.tasks._recordings import Heard
from bigray.tasks._speech import decode_audio, mel_filters
from bigray.tasks._text import TOKENIZER_FILE, load_tokenizer, plain, token_ids
from bigray.tasks._transcription import Transcription
from bigray.tasks.base import Batch, Graph, Row, Run

if TYPE_CHECKING:
    import torch
    from torch import nn

RATE, FFT, HOP = 16_000, 400, 160
"""Hz, samples of a window of the spectrogram (25 ms) and of its step (10 ms)."""
FRAMES_PER_POSITION = 2
OVERLAP_S = 5.0
LEEWAY_S = 0.5
"""A recording to learn from may be longer than the window by so much, and is cut: recordings end in silence."""
SILENCE = 10 ** (-60 / 20)
"""A window whose loudest sample is below (-60 dB of full scale) has no words: Whisper would make some up."""
MULTILINGUAL = 51_865
"""Vocabularies from this size on have languages (openai/whisper, model.py)."""


class Whisper(Transcription):
    """See the module's text. Targets: ``decoder_input_ids`` and ``target`` (N, L) int64; -100 is not learned."""

    timed = False
    together = 4
    inputs = ("input_features", "decoder_input_ids")
    outputs = ("logits",)
    dynamic: ClassVar[Mapping[str, Mapping[int, str]]] = {
        "input_features": {0: "batch"},
        "decoder_input_ids": {0: "batch", 1: "target"},
    }
    model_type = "transformer"
    rate = RATE

    class State(base.State):
        """What the checkpoint says of itself, and how answers are written."""

        mel_bands: int = Field(80, ge=8, le=256)
        positions: int = Field(1500, ge=8)
        """Steps of the encoder, of 20 ms each: the length of a window."""
        prompt: tuple[int, ...]
        """Tokens that every answer begins with: start, language and task of multilingual models, no timestamps."""
        end: int
        """Token of the end. Those above it are markers and times, and are never written."""
        banned: tuple[int, ...] = ()
        """Tokens that are never written: brackets, notes and what else is not said."""
        banned_first: tuple[int, ...] = ()
        vocabulary: int
        max_target: int = Field(224, ge=1)
        """Tokens of an answer to one window."""
        beams: int = Field(1, ge=1, le=16)
        english: bool = True
        """Whether texts are compared through Whisper's English normaliser, else through its basic one."""
        spellings: dict[str, str] = Field({})
        """British -> American spellings of the English normaliser, where the checkpoint has them."""

    state: State

    def __init__(self, state: State, tokenizer: Tokenizer) -> None:
        super().__init__(state)
        self.tokenizer = tokenizer
        self._spellings = frozenset(state.spellings.items()) if state.english else None
        self.window_s = state.positions * FRAMES_PER_POSITION * HOP / RATE
        self.overlap_s = min(OVERLAP_S, self.window_s / 4)

    @classmethod
    def prepare(cls, data: Data, model: Model, rows: Sequence[Row]) -> Self:
        """See `of`: nothing is learned from rows."""
        return cls.of(model)

    @classmethod
    def of(cls, model: Model) -> Self:
        """Read tokenizer and settings of a checkpoint.

        ``model.input``: ``language``, such as ``de``, for multilingual models; ``beams``.

        Raises:
            ModelNotFound: The checkpoint or its tokenizer cannot be had.
            RecipeError: A setting that it does not have.
        """
        from bigray.models import pretrained

        own = own_options(model.input, {"language": "en", "beams": 1}, "model.input")
        config = pretrained.configuration(model.name)
        rules = pretrained.companion(model.name, "generation_config.json")
        tokenizer, _ = pretrained.tokenizer(model.name)
        many = bool(rules.get("is_multilingual", config["vocab_size"] >= MULTILINGUAL))
        spoken = [f"<|{own['language']}|>", "<|transcribe|>"] if many else []
        if not many and own["language"] != "en":
            raise RecipeError(
                f"model.input.language: {model.name!r} knows English only.", pointer="model.input.language"
            )
        marks = [tokenizer.token_to_id(mark) for mark in (*spoken, "<|notimestamps|>")]
        if None in marks:
            raise RecipeError(
                f"model.input.language: {model.name!r} has no token for {own['language']!r}. Give a code such as de or fr.",
                pointer="model.input.language",
            )
        end = int(rules.get("eos_token_id") or config["eos_token_id"])
        state = cls.State(
            mel_bands=config["num_mel_bins"],
            positions=config["max_source_positions"],
            prompt=(config["decoder_start_token_id"], *marks),
            end=end,
            banned=tuple(token for token in rules.get("suppress_tokens") or () if token >= 0),
            banned_first=tuple(rules.get("begin_suppress_tokens") or (end,)),
            vocabulary=config["vocab_size"],
            max_target=config["max_target_positions"] // 2,
            beams=own["beams"],
            english=own["language"] == "en",
            spellings=pretrained.companion(model.name, "normalizer.json") if own["language"] == "en" else {},
        )
        return cls(state, plain(tokenizer))

    @property
    def positions(self) -> int:
        """Steps of the encoder: recordings are filled up with silence."""
        return self.state.positions

    def with_positions(self, positions: int) -> Self:
        """Hear windows of another length, and write so much less about each: nobody speaks faster in them."""
        tokens = math.ceil(self.state.max_target * positions / self.state.positions)
        changed = self.state.model_copy(update={"positions": positions, "max_target": tokens})
        return type(self)(changed, self.tokenizer)

    def fits(self, row: Row) -> bool:
        """Say whether a recording is no longer than a window."""
        return len(decode_audio(row["audio"], RATE)) / RATE <= self.window_s + LEEWAY_S

    def architecture(self, model: Model) -> Architecture:
        """The checkpoint's own network."""
        from bigray.models import pretrained

        return pretrained.describe("AutoModelForSpeechSeq2Seq", model)

    def encode(self, rows: Sequence[Row]) -> Batch:
        """Return ``input_features`` (N, M, F) float32, and ``seconds`` and ``silent`` (N,).

        Sound past the window is cut off: long recordings are split before.
        """
        sounds = [decode_audio(row["audio"], RATE) for row in rows]
        size = self.state.positions * FRAMES_PER_POSITION
        batch = {
            "input_features": np.stack([log_mel(samples, size, self.state.mel_bands) for samples in sounds]),
            "seconds": np.array([len(samples) / RATE for samples in sounds]),
            "silent": np.array([float(np.abs(samples).max()) < SILENCE for samples in sounds]),
            **self.places(rows),
        }
        return batch | (self._targets(rows, batch["seconds"]) if all("text" in row for row in rows) else {})

    def amounts(self, batch: Batch) -> dict[str, float]:
        """Seconds of sound."""
        return {"audio_s": float(batch["seconds"].sum())}

    def forward(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``logits`` (N, L, C) of every step, each given the true steps before it."""
        features = filled_up(batch["input_features"], network)
        output = network(input_features=features, decoder_input_ids=batch["decoder_input_ids"])
        return {"logits": output.logits}

    @property
    def graphs(self) -> Mapping[str, Graph]:
        """What answers: "" hears and begins, ``step`` takes a further step."""
        heard = {"input_features": self.dynamic["input_features"]}
        caches = {name: {1: "batch", 3: "past"} for name in PAST} | {name: {1: "batch"} for name in SOURCE}
        step = {"token": {0: "batch"}, **caches}
        return {
            "": Graph(self._begin, tuple(heard), ("logits", *PAST, *SOURCE), heard),
            "step": Graph(self._step, tuple(step), ("logits", *NEW.values()), step, _step_example),
        }

    def infer(self, run: Run, batch: Batch, parameters: Wire | None = None) -> Batch:
        """Write the answers: ``tokens`` (N, L) int64."""
        state = self.state
        markers = range(state.end + 1, state.vocabulary)
        search = Search(
            longest=state.max_target,
            start=state.prompt[0],
            end=state.end,
            banned=tuple({*state.banned, *markers} - {state.end}),
            banned_first=state.banned_first,
            beams=state.beams,
        )
        return generate(run, batch, search)

    def decode(self, outputs: Batch, batch: Batch, parameters: Wire | None = None) -> list[Heard]:
        """Return the text of each window."""
        lines = [[token for token in line if token != self.state.end] for line in outputs["tokens"].tolist()]
        texts = self.tokenizer.decode_batch(lines, skip_special_tokens=True)
        nowhere = np.zeros(len(lines))
        begins, overlaps = batch.get("begin_s", nowhere).tolist(), batch.get("overlap_s", nowhere).tolist()
        found = []
        for text, silent, begin_s, overlap_s, seconds in zip(
            texts, batch["silent"], begins, overlaps, batch["seconds"].tolist(), strict=True
        ):
            said = "" if silent else " ".join(text.split())
            times = (round(begin_s, 3), round(begin_s + seconds, 3))
            found.append(Heard(said, (Chunk(text=said, timestamp=times),) if said else (), begin_s, overlap_s))
        return found

    def loss(
        self, outputs: Mapping[str, torch.Tensor], batch: Mapping[str, torch.Tensor], smoothing: float = 0.0
    ) -> torch.Tensor:
        """Cross-entropy per token of the texts."""
        from torch.nn import functional

        return functional.cross_entropy(
            outputs["logits"].flatten(0, 1), batch["target"].flatten(), label_smoothing=smoothing
        )

    def normalise(self, text: str) -> str:
        """Return the text as Whisper's papers and leaderboards compare it: no case, no signs, numbers as digits."""
        return _normalised(text, self._spellings)

    def save(self, directory: Path) -> None:
        """Write task.json and tokenizer.json."""
        super().save(directory)
        self.tokenizer.save(str(directory / TOKENIZER_FILE))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read back what `save` wrote."""
        state = cls.State.model_validate_json((directory / "task.json").read_text(encoding="utf-8"))
        return cls(state, load_tokenizer(directory / TOKENIZER_FILE))

    def _targets(self, rows: Sequence[Row], seconds: np.ndarray) -> Batch:
        if seconds.max() > self.window_s + LEEWAY_S:
            raise DataError(
                f"A recording to train on has {seconds.max():.1f} s; Whisper learns from {self.window_s:g} s at most. "
                "Cut it into pieces with their texts."
            )
        prompt, end = self.state.prompt, self.state.end
        lines = [token_ids(self.tokenizer, f" {str(row['text']).strip()}")[: self.state.max_target] for row in rows]
        width = len(prompt) + max(len(line) for line in lines)
        before, target = np.full((len(rows), width), end), np.full((len(rows), width), -100)
        for number, line in enumerate(lines):
            before[number, : len(prompt) + len(line)] = [*prompt, *line]
            target[number, len(prompt) - 1 : len(prompt) + len(line)] = [*line, end]
        return {"decoder_input_ids": before, "target": target}

    def _begin(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        import torch

        from bigray.models import _stepwise

        features = filled_up(batch["input_features"], network)
        first = torch.tensor([self.state.prompt], device=features.device).expand(features.shape[0], -1)
        return _stepwise.begin(network, {"input_features": features}, first)

    def _step(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        from bigray.models import _stepwise

        return _stepwise.step(network, batch)


def log_mel(samples: np.ndarray, frames: int, bands: int) -> np.ndarray:
    """Return (M, F) float32 as WhisperFeatureExtractor does: padded with silence or cut to ``frames``, then

    log10(mel power), at least its maximum - 8, plus 4, divided by 4.
    """
    size = frames * HOP
    sound = np.zeros(size + FFT, dtype=np.float32)
    inner = sound[FFT // 2 : FFT // 2 + size]
    inner[: min(size, len(samples))] = samples[:size]
    sound[: FFT // 2] = inner[FFT // 2 : 0 : -1]  # centred frames, mirrored at both ends
    sound[FFT // 2 + size :] = inner[-2 : -FFT // 2 - 2 : -1]
    cut = np.lib.stride_tricks.sliding_window_view(sound, FFT)[: frames * HOP : HOP]
    spectrum = np.fft.rfft(cut * _hann(), axis=1)
    power = (np.square(spectrum.real) + np.square(spectrum.imag)).astype(np.float32)
    level = np.log10(np.maximum(power @ mel_filters(RATE, FFT, bands), 1e-10)).T
    return np.ascontiguousarray((np.maximum(level, level.max() - 8.0) + 4.0) / 4.0, dtype=np.float32)


def filled_up(features: torch.Tensor, network: Any) -> torch.Tensor:
    """Return features (N, M, F) with silence after them where the network's window is longer, as a teacher's may be."""
    import torch

    missing = network.config.max_source_positions * FRAMES_PER_POSITION - features.shape[-1]
    if missing <= 0:
        return features
    silence = (features.amax((1, 2), keepdim=True) - 2.0).clamp(min=-1.5)  # what `log_mel` makes of a power of 0
    return torch.cat([features, silence.expand(-1, features.shape[1], missing)], dim=-1)


@lru_cache(maxsize=2 * 10_000)  # confidence intervals compare the same texts a thousand times
def _normalised(text: str, spellings: frozenset[tuple[str, str]] | None) -> str:
    return " ".join(_normaliser(spellings)(text).split())


@lru_cache(maxsize=4)
def _normaliser(spellings: frozenset[tuple[str, str]] | None) -> Callable[[str], str]:
    """Return that of English with these spellings, or the basic one."""
    from transformers.models.whisper import english_normalizer as normalizers

    made: Callable[[str], str] = (
        normalizers.BasicTextNormalizer() if spellings is None else normalizers.EnglishTextNormalizer(dict(spellings))
    )
    return made


@lru_cache(maxsize=1)
def _hann() -> np.ndarray:
    return np.hanning(FFT + 1)[:-1].astype(np.float32)


def _step_example(batch: Batch, outputs: Batch) -> Batch:
    # three earlier steps more: the exporters take a size of 1 for one that never changes
    caches = {name: np.ascontiguousarray(np.repeat(outputs[name], 3, axis=3)) for name in PAST}
    return {"token": np.full((len(batch["input_features"]), 1), 5), **caches, **{k: outputs[k] for k in SOURCE}}
