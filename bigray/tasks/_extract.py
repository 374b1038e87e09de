"""Extractive summarization: the sentences of a text that say most of what its summary would (Liu 2019, arXiv 1903.10318).

A pretrained encoder reads the text and gives every token a relevance r; a sentence's score is the mean of its tokens':

    s_i = mean over t in sentence i of r_t                                  (K,)
    loss = cross-entropy of softmax(s) against softmax(ROUGE-1 of sentence i / 0.1)

which is ListNet (Cao et al. 2007, doi 10.1145/1273496.1273513) with ROUGE as relevance. The answer is the best
sentences in the order of the text, as many as summaries of the training rows are long, so it says nothing that the text
does not. A text longer than the window is read
in windows of whole sentences that share one.

Sizes: N windows, T tokens, K sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from bigray import metrics
from bigray.errors import RecipeError
from bigray.models.base import Architecture, own_options
from bigray.recipe import Data, Model
from bigray.schemas import Summary, TextToTextParameters, Wire
from bigray.tasks import base
from bigray.tasks._text import TokenTask, check_text, pad, plain, sentence_places, token_ids
from bigray.tasks.base import Batch, Metric, Row

if TYPE_CHECKING:
    import torch
    from torch import nn

INPUT: dict[str, Any] = {"max_source": 512, "sentences": 0}
"""Settings of ``model.input``; see `Extractive.State`. 0 sentences: as the training rows have it."""
TEMPERATURE = 0.1
"""Of relevance, in ROUGE-1: a sentence that scores 0.1 more is wanted e times as much."""
EXAMPLE = "The board met on Monday . It has sold the old boat . Coffee was served to all ."
Place = tuple[int, int]
"""First character of a sentence, and the one after its last."""


@dataclass(frozen=True)
class Window:
    """Sentences that are read together."""

    tokens: list[list[int]]
    places: list[Place]


class Extractive(TokenTask):
    """See the module's text. Targets: ``worth`` (N, K) float32, the ROUGE-1 of each sentence; -1 is padding."""

    name = "summarization"
    fields: ClassVar[Mapping[str, str]] = {"text": "the text", "summary": "its summary"}
    primary = Metric("rouge_1")
    inputs = ("input_ids", "attention_mask")
    outputs = ("relevance",)
    dynamic: ClassVar[Mapping[str, Mapping[int, str]]] = {
        "input_ids": {0: "batch", 1: "length"},
        "attention_mask": {0: "batch", 1: "length"},
    }
    model_type = "transformer"

    class State(base.State):
        """Limits, and how long answers are."""

        max_source: int = Field(512, ge=16, le=100_000)
        """Tokens of one window."""
        sentences: int = Field(1, ge=1, le=100)
        """Sentences of an answer."""
        pad_id: int = 0

    state: State

    @classmethod
    def prepare(cls, data: Data, model: Model, rows: Sequence[Row]) -> Self:
        """Take the pretrained tokenizer; see how long summaries are, in sentences of their texts."""
        from bigray.models import pretrained

        own = own_options(model.input, INPUT, "model.input")
        if own["sentences"] < 0 or own["max_source"] < 16:
            raise RecipeError(
                f"model.input: sentences must be at least 0 and max_source at least 16 (got {own}).",
                pointer="model.input",
            )
        tokenizer, pad_id = pretrained.tokenizer(model.name)
        own["max_source"] = min(own["max_source"], pretrained.longest_input(model.name) or own["max_source"])
        own["sentences"] = own["sentences"] or _usual_length(rows[:2000])
        return cls(cls.State(**own, pad_id=pad_id), plain(tokenizer))

    def architecture(self, model: Model) -> Architecture:
        """The encoder with one output per token."""
        from bigray.models import pretrained

        return pretrained.classifier("AutoModelForTokenClassification", model, ["relevance"])

    def split(self, row: Row, parameters: Wire | None = None) -> Iterator[Row]:
        """Yield the windows of a row: rows that hold their ``window`` alone."""
        first = isinstance(parameters, TextToTextParameters) and parameters.truncation not in (None, "do_not_truncate")
        for window in self._windows(check_text(row["text"])):
            yield {"window": window}
            if first:
                return

    def encode(self, rows: Sequence[Row]) -> Batch:
        """Return ``input_ids``, ``attention_mask``, ``sentence`` (N, T) int64 (which sentence a token is of, -1: none) and
        ``places`` (N, K, 2) int64 (characters; -1 is padding); of a row that was not split, one window.
        """
        windows = [row["window"] if "window" in row else self._drawn(row) for row in rows]
        before, after = self._frame.before, self._frame.after
        lines = [[*before, *(id for tokens in one.tokens for id in tokens), *after] for one in windows]
        batch = pad(lines, self.state.pad_id)
        sentence = np.full(batch["input_ids"].shape, -1, dtype=np.int64)
        places = np.full((len(rows), max(len(one.places) for one in windows), 2), -1, dtype=np.int64)
        for number, window in enumerate(windows):
            owners = np.repeat(np.arange(len(window.tokens)), [len(tokens) for tokens in window.tokens])
            sentence[number, len(before) : len(before) + len(owners)] = owners
            places[number, : len(window.places)] = window.places
        batch |= {"sentence": sentence, "places": places}
        if all("summary" in row for row in rows):
            worth = np.full(places.shape[:2], -1, dtype=np.float32)
            for number, (row, window) in enumerate(zip(rows, windows, strict=True)):
                text = check_text(row["text"])
                said = [metrics.summarization([text[slice(*place)]], [str(row["summary"])]) for place in window.places]
                worth[number, : len(said)] = [one["rouge_1"] for one in said]
            batch["worth"] = worth
        return batch

    def forward(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``relevance`` (N, T)."""
        return {"relevance": network(**{name: batch[name] for name in self.inputs}).logits.squeeze(-1)}

    def loss(
        self, outputs: Mapping[str, torch.Tensor], batch: Mapping[str, torch.Tensor], smoothing: float = 0.0
    ) -> torch.Tensor:
        """ListNet against the sentences' ROUGE-1."""
        absent = batch["worth"] < 0
        wanted = (batch["worth"] / TEMPERATURE).masked_fill(absent, -1e4).softmax(-1)
        scores = _scores(outputs["relevance"], batch["sentence"], absent.shape[1]).masked_fill(absent, -1e4)
        return -(wanted * scores.log_softmax(-1)).sum(-1).mean()

    def distance(
        self,
        outputs: Mapping[str, torch.Tensor],
        taught: Mapping[str, torch.Tensor],
        batch: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """Kullback-Leibler divergence between both choices of sentences."""
        from torch.nn import functional

        absent = batch["places"][..., 0] < 0
        student, teacher = (
            _scores(one["relevance"], batch["sentence"], absent.shape[1]).masked_fill(absent, -1e4).log_softmax(-1)
            for one in (outputs, taught)
        )
        return functional.kl_div(student, teacher, reduction="batchmean", log_target=True)

    def decode(self, outputs: Batch, batch: Batch, parameters: Wire | None = None) -> list[dict[Place, float]]:
        """Return the score of each sentence, by its place."""
        found = []
        for relevance, owner, places in zip(outputs["relevance"], batch["sentence"], batch["places"], strict=True):
            real = places[places[:, 0] >= 0].tolist()
            sums = np.bincount(owner[owner >= 0], relevance[owner >= 0].astype(np.float64), len(real))
            counts = np.bincount(owner[owner >= 0], minlength=len(real))
            scores = np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf).tolist()
            found.append({(start, end): score for (start, end), score in zip(real, scores, strict=True)})
        return found

    def merge(self, row: Row, found: Sequence[Mapping[Place, float]], parameters: Wire | None = None) -> Summary:
        """Join the best sentences of all windows in the order of the text; one seen twice counts with its higher score."""
        best: dict[Place, float] = {}
        for window in found:
            best |= {place: max(score, best.get(place, -np.inf)) for place, score in window.items()}
        chosen = sorted(best, key=lambda place: (-best[place], place))[: self.state.sentences]
        text = check_text(row["text"])
        return Summary(summary_text=" ".join(text[slice(*place)] for place in sorted(chosen)))

    def score(self, answers: Sequence[Summary], rows: Sequence[Row]) -> dict[str, float]:
        """ROUGE-1, ROUGE-2 and ROUGE-L: F measures, means over rows."""
        return metrics.summarization([one.summary_text for one in answers], [str(row["summary"]) for row in rows])

    def example(self, count: int, size: int | None = None) -> list[Row]:
        """Texts of ``size`` words (by default 100)."""
        words = EXAMPLE.split()
        length = size or 100
        return [{"text": " ".join(words[(start + i) % len(words)] for i in range(length))} for start in range(count)]

    def keep(self, network: nn.Module) -> list[str]:
        """The layer that makes the relevance."""
        return [name for name, _ in network.named_modules() if name.split(".")[-1] == "classifier"]

    def _windows(self, text: str) -> Iterator[Window]:
        room = self.state.max_source - self._frame.width
        tokens: list[list[int]] = []
        places: list[Place] = []
        fresh = 0
        for place in sentence_places(text):
            ids = token_ids(self.tokenizer, text[slice(*place)])[:room]  # the beginning stands for the whole of it
            if fresh and sum(map(len, tokens)) + len(ids) > room:
                yield Window(tokens, places)
                shared = fresh > 1 and len(tokens[-1]) + len(ids) <= room
                tokens, places, fresh = (tokens[-1:], places[-1:], 0) if shared else ([], [], 0)
            tokens.append(ids)
            places.append(place)
            fresh += 1
        if fresh:
            yield Window(tokens, places)

    def _drawn(self, row: Row) -> Window:
        """Choose the window a training row is learned from."""
        found = list(self._windows(check_text(row["text"])))
        return found[int(row.get("draw", 0.0) * len(found))]


def _scores(relevance: torch.Tensor, sentence: torch.Tensor, count: int) -> torch.Tensor:
    """Return the means over each sentence's tokens, (N, T) -> (N, K)."""
    import torch

    owner = sentence.clamp(min=0)
    real = (sentence >= 0).to(relevance.dtype)
    empty = torch.zeros(len(relevance), count, dtype=relevance.dtype, device=relevance.device)
    return empty.scatter_add(1, owner, relevance * real) / empty.scatter_add(1, owner, real).clamp(min=1.0)


def _usual_length(rows: Sequence[Row]) -> int:
    """Return how many sentences of a text are about as long as its summary, in the median over rows."""
    ratios = []
    for row in rows:
        text = check_text(row["text"])
        sentences = [len(text[slice(*place)].split()) for place in sentence_places(text)]
        ratios.append(len(str(row["summary"]).split()) / max(1.0, median(sentences)))
    return max(1, round(median(ratios))) if ratios else 1
