"""What the tasks that turn a text into another text share: everything but their names and how they are scored.

Networks: bigray's own `transformer` over subwords learned from the training texts, or an encoder-decoder of transformers
(T5, BART, Marian with a fast tokenizer). It is trained with teacher forcing: every token of the target is foretold from
the true ones before it. Answers are written step by step (`_generate`) with two exported graphs, one that reads the
source and begins, one that takes a step with what earlier steps left.

A text longer than the window is cut at ends of sentences into pieces that fit; the answers of the pieces are joined in
order, so nothing is lost or said twice at a seam. Sizes: as in `bigray.models.transformer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field
from tokenizers import processors

from bigray.errors import DataError, RecipeError
from bigray.models.base import Architecture, own_architecture, own_options
from bigray.recipe import Data, Model
from bigray.schemas import TextToTextParameters, Wire
from bigray.tasks import base
from bigray.tasks._generate import NEW, PAST, SOURCE, Search, generate
from bigray.tasks._text import (
    TokenTask,
    check_text,
    pad,
    plain,
    sentence_places,
    token_ids,
    train_subwords,
)
from bigray.tasks.base import Batch, Graph, Row, Run

if TYPE_CHECKING:
    import torch
    from torch import nn

MAX_TOKENS = 1024
START, END = "[START]", "[END]"
INPUT: dict[str, Any] = {
    "max_source": 128,
    "max_target": 128,
    "beams": 1,
    "length_penalty": 1.0,
    "no_repeat": 0,
    "prefix": "",
    "vocabulary_size": 8000,
}
"""Settings of ``model.input``; see `SequenceToSequence.State`."""


class SequenceToSequence(TokenTask):
    """See the module's text. Targets: ``decoder_input_ids`` and ``target`` (N, T) int64; 0 in ``target_mask`` is padding."""

    target: ClassVar[str]
    """Field of a row that holds the text to learn."""
    own: ClassVar[Mapping[str, Any]] = INPUT
    """This task's own defaults of ``model.input``."""
    inputs = ("input_ids", "attention_mask", "decoder_input_ids")
    outputs = ("logits",)
    dynamic: ClassVar[Mapping[str, Mapping[int, str]]] = {
        "input_ids": {0: "batch", 1: "source"},
        "attention_mask": {0: "batch", 1: "source"},
        "decoder_input_ids": {0: "batch", 1: "target"},
    }
    model_type = "transformer"

    class State(base.State):
        """Token limits, and how answers are written."""

        max_source: int = Field(128, ge=8, le=100_000)
        """Tokens of one window of the source."""
        max_target: int = Field(128, ge=1, le=100_000)
        """Tokens of an answer to one window."""
        beams: int = Field(1, ge=1, le=16)
        """Beginnings kept while an answer is written; 1 is greedy."""
        length_penalty: float = 1.0
        """Over 0 favours longer answers; without meaning for one beam."""
        no_repeat: int = Field(0, ge=0, le=10)
        """Runs of so many tokens occur once in an answer; 0: no limit."""
        prefix: str = ""
        """Put before every source, e.g. T5's ``translate English to German: ``."""
        start: int
        end: int
        pad_id: int
        unknown: int | None
        pretrained: bool

    state: State

    @classmethod
    def prepare(cls, data: Data, model: Model, rows: Sequence[Row]) -> Self:
        """Take the pretrained tokenizer, or learn one from sources and targets together."""
        own = own_options(model.input, cls.own, "model.input")
        vocabulary_size = own.pop("vocabulary_size")
        for key in ("max_source", "max_target"):
            if not 8 <= own[key] <= MAX_TOKENS:
                raise RecipeError(
                    f"model.input.{key}: must be 8 to {MAX_TOKENS} (got {own[key]}).", pointer=f"model.input.{key}"
                )
        if model.source != "transformers":
            texts = [row[field] for row in rows for field in ("text", cls.target)]
            tokenizer = train_subwords(texts, vocabulary_size, special=(START, END))
            # ids follow the order of the special tokens: padding, unknown, start, end
            tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 3)])
            ids: dict[str, Any] = {"start": 2, "end": 3, "pad_id": 0, "unknown": 1, "pretrained": False}
        else:
            from bigray.models import pretrained

            pretrained.require_name(model)
            tokenizer, pad_id = pretrained.tokenizer(model.name)
            config = pretrained.configuration(model.name)
            if not config.get("is_encoder_decoder"):
                raise RecipeError(
                    f"model.name: {model.name!r} has no decoder; {cls.name} needs an encoder-decoder such as T5 or BART.",
                    pointer="model.name",
                )
            limit = pretrained.longest_input(model.name) or MAX_TOKENS
            own |= {key: min(own[key], limit) for key in ("max_source", "max_target")}
            unknown = getattr(tokenizer.model, "unk_token", None)
            ids = {
                "start": config["decoder_start_token_id"],
                "end": config["eos_token_id"],
                "pad_id": pad_id,
                "unknown": tokenizer.token_to_id(unknown) if unknown else None,
                "pretrained": True,
            }
        task = cls(cls.State(**own, **ids), plain(tokenizer))
        longest = max((len(task._tokens(row["text"])) for row in rows[:2000]), default=0)
        if not longest:
            raise DataError("The training texts hold no tokens. Is the text column right?")
        # a network answers well what is as long as what it has seen: longer texts are read in pieces of that length
        room = min(task.state.max_source, longest + task._frame.width)
        return cls(task.state.model_copy(update={"max_source": max(8, room)}), tokenizer)

    def architecture(self, model: Model) -> Architecture:
        """An encoder-decoder of transformers, or bigray's own ``transformer`` over the learned subwords."""
        if model.source == "transformers":
            from bigray.models import pretrained

            return pretrained.describe("AutoModelForSeq2SeqLM", model)
        dims = {"kind": "sequences", "vocabulary": self.tokenizer.get_vocab_size(), "start": self.state.start}
        return own_architecture(model, dims, default="transformer", known=("transformer",), task=self.name)

    def split(self, row: Row, parameters: Wire | None = None) -> Iterator[Row]:
        """Yield the pieces of a text: rows that hold their ``tokens``, cut at ends of sentences where possible."""
        room = self._room
        text = check_text(row["text"])
        whole = self._tokens(text)
        if len(whole) <= room or _wanted(parameters).truncation not in (None, "do_not_truncate"):
            yield {"tokens": whole[:room]}
            return
        piece: list[int] = []
        for place in sentence_places(text):
            tokens = self._tokens(text[slice(*place)])
            if piece and len(piece) + len(tokens) > room:
                yield {"tokens": piece}
                piece = []
            piece = piece + tokens
            while len(piece) > room:
                yield {"tokens": piece[:room]}
                piece = piece[room:]
        if piece:
            yield {"tokens": piece}

    def encode(self, rows: Sequence[Row]) -> Batch:
        """Return ``input_ids`` and ``attention_mask`` (N, S) int64; longer texts that were not split are cut."""
        prefix = self._tokens(self.state.prefix) if self.state.prefix else []
        sources = [
            row["tokens"] if "tokens" in row else self._tokens(check_text(row["text"]))[: self._room] for row in rows
        ]
        framed = [[*self._frame.before, *prefix, *one, *self._frame.after] for one in sources]
        batch = pad(framed, self.state.pad_id, self.state.max_source)
        return batch | (self._targets(rows) if all(self.target in row for row in rows) else {})

    def forward(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``logits`` (N, T, C) of every step, each given the true steps before it."""
        output = network(**{name: batch[name] for name in self.inputs})
        return {"logits": output.logits if hasattr(output, "logits") else output}

    @property
    def graphs(self) -> Mapping[str, Graph]:
        """What answers: "" reads the source and takes the first step, ``step`` a further one."""
        source = {"input_ids": self.dynamic["input_ids"], "attention_mask": self.dynamic["attention_mask"]}
        caches = {name: {1: "batch", 3: "past"} for name in PAST} | {name: {1: "batch", 3: "source"} for name in SOURCE}
        step = {"token": {0: "batch"}, "position": {0: "batch"}, "attention_mask": source["attention_mask"], **caches}
        return {
            "": Graph(self._begin, tuple(source), ("logits", *PAST, *SOURCE), source),
            "step": Graph(self._step, tuple(step), ("logits", *NEW.values()), step, _step_example),
        }

    def infer(self, run: Run, batch: Batch, parameters: Wire | None = None) -> Batch:
        """Write the answers: ``tokens`` (N, L) int64."""
        state, wanted = self.state, _wanted(parameters).generate_parameters
        search = Search(
            longest=min(wanted.max_new_tokens or state.max_target, state.max_target),
            start=state.start,
            end=state.end,
            banned=tuple({state.pad_id, state.start, state.unknown} - {state.end, None}),  # type: ignore[arg-type]
            beams=wanted.num_beams or state.beams,
            length_penalty=state.length_penalty if wanted.length_penalty is None else wanted.length_penalty,
            no_repeat=state.no_repeat if wanted.no_repeat_ngram_size is None else wanted.no_repeat_ngram_size,
        )
        return generate(run, batch, search)

    def decode(self, outputs: Batch, batch: Batch, parameters: Wire | None = None) -> list[str]:
        """Return the text of each piece."""
        lines = [[token for token in line if token != self.state.end] for line in outputs["tokens"].tolist()]
        return [text.strip() for text in self.tokenizer.decode_batch(lines, skip_special_tokens=True)]

    def loss(
        self, outputs: Mapping[str, torch.Tensor], batch: Mapping[str, torch.Tensor], smoothing: float = 0.0
    ) -> torch.Tensor:
        """Cross-entropy per token of the targets."""
        from torch.nn import functional

        known = batch["target_mask"] > 0
        return functional.cross_entropy(outputs["logits"][known], batch["target"][known], label_smoothing=smoothing)

    def example(self, count: int, size: int | None = None) -> list[Row]:
        """Texts of ``size`` words (by default 20, at most what one window holds)."""
        words = [
            "two",
            "young",
            "children",
            "are",
            "playing",
            "with",
            "a",
            "red",
            "ball",
            "in",
            "the",
            "park",
            "while",
            "their",
            "mother",
            "reads",
            "a",
            "long",
            "book",
        ]
        length = min(size or 20, max(4, self._room // 3))
        return [{"text": " ".join(words[(start + i) % len(words)] for i in range(length))} for start in range(count)]

    @property
    def _room(self) -> int:
        prefix = len(self._tokens(self.state.prefix)) if self.state.prefix else 0
        return max(4, self.state.max_source - self._frame.width - prefix)

    def _tokens(self, text: str) -> list[int]:
        return token_ids(self.tokenizer, text)

    def _targets(self, rows: Sequence[Row]) -> Batch:
        room = self.state.max_target - self._frame.width
        lines = [self._tokens(check_text(row[self.target], f"/{self.target}"))[:room] for row in rows]
        framed = [[*self._frame.before, *line, *self._frame.after] for line in lines]
        target = pad(framed, self.state.pad_id)
        before = pad([[self.state.start, *line[:-1]] for line in framed], self.state.pad_id)
        return {
            "decoder_input_ids": before["input_ids"],
            "target": target["input_ids"],
            "target_mask": target["attention_mask"],
        }

    def _begin(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if self.state.pretrained:
            from bigray.models import _stepwise

            return _stepwise.begin(network, batch["input_ids"], batch["attention_mask"], self.state.start)
        return network.begin(batch["input_ids"], batch["attention_mask"])  # type: ignore[no-any-return, operator]

    def _step(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if self.state.pretrained:
            from bigray.models import _stepwise

            return _stepwise.step(network, batch)
        return network.step(batch)  # type: ignore[no-any-return, operator]


def _wanted(parameters: Wire | None) -> TextToTextParameters:
    return parameters if isinstance(parameters, TextToTextParameters) else TextToTextParameters()


def _step_example(batch: Batch, outputs: Batch) -> Batch:
    # three earlier steps: the exporters take a size of 1 for one that never changes
    count = len(batch["input_ids"])
    caches = {name: np.ascontiguousarray(np.repeat(outputs[name], 3, axis=3)) for name in PAST}
    step = {"token": np.full((count, 1), 5), "position": np.full((count, 1), 3)}
    return {**step, "attention_mask": batch["attention_mask"], **caches, **{name: outputs[name] for name in SOURCE}}
