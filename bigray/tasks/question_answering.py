"""Extractive question answering: a question and a context in, the stretch of the context that answers it out.

The network says of every token how likely the answer begins and ends there (Devlin et al. 2019, arXiv 1810.04805); the
answer is the pair with the highest sum, not longer than allowed. A context longer than the network's window is read in
windows that overlap, and the best pair of all of them wins; places are characters of the context as it was given.
Networks: any encoder of transformers by hub name, package or local folder, or bigray's own ``cnn`` for narrow domains.
Wire form: https://huggingface.co/docs/inference-providers/tasks/question-answering.

Sizes: N windows, T tokens of the longest one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field
from tokenizers import processors

from bigray import metrics
from bigray.errors import DataError, RecipeError
from bigray.models.base import Architecture, own_architecture, own_options
from bigray.recipe import Data, Model
from bigray.schemas import Answer, QuestionAnsweringParameters, Wire
from bigray.tasks import base
from bigray.tasks._spans import Found, Window, best_stretches, extents_of, inside, place_of
from bigray.tasks._text import (
    TokenTask,
    check_text,
    pad,
    plain,
    token_ids,
    train_tokenizer,
    windows,
)
from bigray.tasks.base import Batch, Metric, Row

if TYPE_CHECKING:
    import torch
    from torch import nn

INPUT: dict[str, Any] = {
    "max_length": 384,
    "overlap": 128,
    "max_question": 64,
    "max_answer": 30,
    "vocabulary_size": 8000,
}
"""Settings of ``model.input``, in tokens; see `QuestionAnswering.State`."""
MIN_ROOM = 8
"""Tokens of context that every window has, however long the question is."""
ANSWER_DRAW = 0.8
"""Share of training windows that hold the answer, where a context has several; the others teach that there is none."""
CANDIDATES = 20
"""Stretches kept of each window, at least."""


class QuestionAnswering(TokenTask):
    """See the module's text. Targets: ``start``, ``end`` (N,) int64, tokens; 0: not in this window; -1: not known."""

    name = "question_answering"
    fields: ClassVar[Mapping[str, str]] = {
        "question": "the question",
        "context": "the text that holds the answer",
        "answers": "the answer: words of the context, or a list of them",
    }
    primary = Metric("f1")
    pair = True
    outputs = ("start_logits", "end_logits")
    defaults: ClassVar[Mapping[str, Any]] = {"train": {"batch_size": 16}}

    class State(base.State):
        """Token limits, and what the network takes."""

        max_length: int = Field(384, ge=16, le=100_000)
        """Tokens of one window, with the question and markers."""
        overlap: int = Field(128, ge=0)
        """Tokens of the context that neighbouring windows share."""
        max_question: int = Field(64, ge=1)
        """Tokens of the question that are read."""
        max_answer: int = Field(30, ge=1)
        """Longest answer."""
        pad_id: int = 0
        segments: bool = True
        """Whether the network takes ``token_type_ids``."""
        impossible: bool = False
        """Whether training rows had questions without an answer; then "none" may be the answer."""
        transformer: bool = False
        """Whether the network is one: quantizers treat attention with care."""

    state: State

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Arrays the network takes."""
        return ("input_ids", "attention_mask", "token_type_ids")[: 3 if self.state.segments else 2]

    @property
    def dynamic(self) -> Mapping[str, Mapping[int, str]]:  # type: ignore[override]
        """All inputs vary in both axes."""
        return {name: {0: "batch", 1: "length"} for name in self.inputs}

    @property
    def model_type(self) -> str | None:  # type: ignore[override]
        """``transformer`` for pretrained encoders."""
        return "transformer" if self.state.transformer else None

    @classmethod
    def prepare(cls, data: Data, model: Model, rows: Sequence[Row]) -> Self:
        """Take the pretrained tokenizer or learn one from questions and contexts; look whether answers can be found."""
        own = own_options(model.input, INPUT, "model.input")
        vocabulary_size = own.pop("vocabulary_size")
        answered = [row for row in rows if row["answers"]]
        lost = [row for row in answered if place_of(row) is None]
        if len(lost) * 2 >= len(rows) or not answered:
            example = f" For example {lost[0]['answers'][0]['text'][:60]!r}." if lost else ""
            raise DataError(
                f"Of {len(rows)} training rows {len(lost)} have an answer that is not in their context and "
                f"{len(rows) - len(answered)} have none. An answer must be a stretch of its context.{example}"
            )
        limits = {**own, "impossible": len(answered) < len(rows)}
        if model.source != "transformers":
            texts = {row[field] for row in rows for field in ("question", "context")}
            # sorted: the order of a set changes from run to run
            tokenizer = train_tokenizer(sorted(texts), vocabulary_size, special=("[CLS]", "[SEP]"))
            # ids follow the order of the special tokens: padding, unknown, [CLS], [SEP]
            tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
            return cls(_checked(cls.State(**limits)), plain(tokenizer))
        from bigray.models import pretrained

        pretrained.require_name(model)
        tokenizer, pad_id = pretrained.tokenizer(model.name)
        limits["max_length"] = min(own["max_length"], pretrained.longest_input(model.name) or own["max_length"])
        segments = pretrained.configuration(model.name).get("type_vocab_size", 0) > 1
        state = cls.State(**limits, pad_id=pad_id, segments=segments, transformer=True)
        return cls(_checked(state), plain(tokenizer))

    def architecture(self, model: Model) -> Architecture:
        """An encoder of transformers with a head for spans, or bigray's own ``cnn`` over the learned vocabulary."""
        if model.source == "transformers":
            from bigray.models import pretrained

            return pretrained.describe("AutoModelForQuestionAnswering", model)
        dims = {"kind": "spans", "vocabulary": self.tokenizer.get_vocab_size()}
        return own_architecture(model, dims, default="cnn", known=("cnn",), task=self.name)

    def split(self, row: Row, parameters: Wire | None = None) -> Iterator[Row]:
        """Yield the windows of a row: rows that hold their ``window`` alone."""
        for window in self._windows(row, parameters):
            yield {"window": window}

    def encode(self, rows: Sequence[Row]) -> Batch:
        """Return ``input_ids``, ``attention_mask``, ``token_type_ids`` (N, T) int64, ``context`` (N, T) bool (which tokens
        are the context's) and ``extents`` (N, T, 4) int64, see `Window`; of a row that was not split, one window.
        """
        chosen = [(row["window"], (-1, -1)) if "window" in row else self._drawn(row) for row in rows]
        batch = pad([window.ids for window, _ in chosen], self.state.pad_id, self.state.max_length)
        shape = batch["input_ids"].shape
        segments, context = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)
        extents = np.zeros((*shape, 4), dtype=np.int64)
        for number, (window, _) in enumerate(chosen):
            part = slice(window.first, window.first + len(window.extents))
            segments[number, : len(window.segments)] = window.segments
            context[number, part], extents[number, part] = True, window.extents
        if self.state.segments:
            batch["token_type_ids"] = segments
        batch |= {"context": context, "extents": extents}
        if all("answers" in row for row in rows):
            places = np.array([place for _, place in chosen], dtype=np.int64)
            batch |= {"start": places[:, 0], "end": places[:, 1]}
        return batch

    def forward(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``start_logits`` and ``end_logits``, (N, T) each."""
        output = network(**{name: batch[name] for name in self.inputs})
        start, end = output if isinstance(output, tuple) else (output.start_logits, output.end_logits)
        return {"start_logits": start, "end_logits": end}

    def loss(
        self, outputs: Mapping[str, torch.Tensor], batch: Mapping[str, torch.Tensor], smoothing: float = 0.0
    ) -> torch.Tensor:
        """Mean cross-entropy of start and end over the context's tokens and the first one; unknown places count 0."""
        import torch

        allowed = batch["context"].clone()
        allowed[:, 0] = True
        total = torch.zeros((), device=allowed.device)
        for name in ("start", "end"):
            log_probs = outputs[f"{name}_logits"].masked_fill(~allowed, -1e4).log_softmax(-1)
            picked = log_probs.gather(1, batch[name].clamp(min=0).unsqueeze(1)).squeeze(1)
            spread = (log_probs * allowed).sum(1) / allowed.sum(1)
            known = batch[name] >= 0
            each = -(1 - smoothing) * picked - smoothing * spread
            total = total + 0.5 * (each * known).sum() / known.sum().clamp(min=1)
        return total

    def decode(self, outputs: Batch, batch: Batch, parameters: Wire | None = None) -> list[Found]:
        """Return the best stretches of each window."""
        wanted = _wanted(parameters)
        longest = wanted.max_answer_len or self.state.max_answer
        count = max(CANDIDATES, 2 * (wanted.top_k or 1))
        align = wanted.align_to_words is not False
        found = []
        for start, end, context, extents in zip(
            np.asarray(outputs["start_logits"], dtype=np.float64),
            np.asarray(outputs["end_logits"], dtype=np.float64),
            batch["context"],
            batch["extents"],
            strict=True,
        ):
            places = extents[context][:, 2:] if align else extents[context][:, :2]
            stretches, mass = best_stretches(start[context], end[context], places, longest, count)
            found.append(Found(stretches, mass, float(start[0] + end[0])))
        return found

    def merge(self, row: Row, found: Sequence[Found], parameters: Wire | None = None) -> Answer | list[Answer]:
        """Return the best answer, or with ``top_k`` over 1 a list, out of all windows of a row.

        A stretch seen in two windows counts once, with its higher logits. "None" is as likely as in the window that
        holds it least likely, as in the SQuAD 2.0 script of BERT.
        """
        wanted = _wanted(parameters)
        best: dict[tuple[int, int], float] = {}
        twice = []
        for window in found:
            own = {(start, end): logit for logit, start, end in reversed(window.stretches)}  # the best one stays
            twice += [min(logit, best[place]) for place, logit in own.items() if place in best]
            best |= {place: max(logit, best.get(place, -np.inf)) for place, logit in own.items()}
        masses = [window.mass for window in found]
        possible = wanted.handle_impossible_answer
        if self.state.impossible if possible is None else possible:
            best[0, 0] = min(window.none for window in found)
            masses.append(best[0, 0])
        total = np.logaddexp.reduce(masses)
        if twice:  # their mass is in both windows
            total += np.log1p(-min(np.exp(np.logaddexp.reduce(twice) - total), 1 - 1e-9))
        ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))[: wanted.top_k or 1]
        answers = [
            Answer(answer=row["context"][start:end], score=float(np.exp(logit - total)), start=start, end=end)
            for (start, end), logit in ranked
        ]
        if not answers:  # a context of no token at all
            answers = [Answer(answer="", score=0.0, start=0, end=0)]
        return answers if (wanted.top_k or 1) > 1 else answers[0]

    def score(self, answers: Sequence[Answer], rows: Sequence[Row]) -> dict[str, float]:
        """F1 and exact match as SQuAD defines them."""
        truth = [[one["text"] for one in row["answers"]] for row in rows]
        return metrics.squad([answer.answer for answer in answers], truth)

    def example(self, count: int, size: int | None = None) -> list[Row]:
        """Questions about contexts of ``size`` words (by default 100)."""
        words = [
            "the",
            "old",
            "library",
            "on",
            "the",
            "hill",
            "was",
            "built",
            "by",
            "Mary",
            "Ellis",
            "in",
            "1904",
            "and",
            "holds",
            "many",
            "rare",
            "maps",
            "of",
            "the",
            "coast",
        ]
        length = size or 100
        return [
            {
                "question": "Who built the old library?",
                "context": " ".join(words[(number + place) % len(words)] for place in range(length)),
            }
            for number in range(count)
        ]

    def keep(self, network: nn.Module) -> list[str]:
        """The layer that makes the logits."""
        return [name for name, _ in network.named_modules() if name.split(".")[-1] in {"qa_outputs", "head"}]

    def _windows(self, row: Row, parameters: Wire | None = None) -> Iterator[Window]:
        wanted = _wanted(parameters)
        # checked but not normalised: places are characters of the text as it was given
        for field in ("question", "context"):
            check_text(row[field], f"/inputs/{field}")
        length = min(wanted.max_seq_len or self.state.max_length, self.state.max_length)
        question = token_ids(self.tokenizer, row["question"])
        question = question[
            : min(wanted.max_question_len or self.state.max_question, length - self._frame.width - MIN_ROOM)
        ]
        context = self.tokenizer.encode(row["context"], add_special_tokens=False)
        extents = extents_of(context.offsets, context.word_ids)
        frame, room = self._frame, length - self._frame.width - len(question)
        head = [*frame.before, *question, *frame.between]
        overlap = wanted.doc_stride if wanted.doc_stride is not None else self.state.overlap
        kinds = frame.segments
        for start, stop in windows(len(extents), room, min(overlap, room // 2)):
            sizes = (len(frame.before), len(question), len(frame.between), stop - start, len(frame.after))
            yield Window(
                ids=[*head, *context.ids[start:stop], *frame.after],
                segments=[kind for kind, size in zip(kinds, sizes, strict=True) for _ in range(size)],
                first=len(head),
                extents=extents[start:stop],
            )

    def _drawn(self, row: Row) -> tuple[Window, tuple[int, int]]:
        """Choose the window a training row is learned from; return it with the answer's first and last token in it."""
        found = list(self._windows(row))
        draw = row.get("draw", 0.0)
        if not row.get("answers"):
            return found[int(draw * len(found))], (0, 0)
        place = place_of(row)
        if place is None:
            return found[0], (-1, -1)
        marked = [(window, tokens) for window in found if (tokens := inside(window, *place)) is not None]
        others = [window for window in found if inside(window, *place) is None]
        if others and (draw >= ANSWER_DRAW or not marked):
            share = (draw - ANSWER_DRAW) / (1 - ANSWER_DRAW) if draw >= ANSWER_DRAW else draw
            return others[int(share * len(others))], (0, 0)
        return marked[int(min(draw / ANSWER_DRAW, 0.999) * len(marked))]


def _wanted(parameters: Wire | None) -> QuestionAnsweringParameters:
    return parameters if isinstance(parameters, QuestionAnsweringParameters) else QuestionAnsweringParameters()


def _checked(state: QuestionAnswering.State) -> QuestionAnswering.State:
    if state.overlap >= state.max_length // 2:
        raise RecipeError(
            f"model.input.overlap: must be less than half of max_length {state.max_length} (got {state.overlap}).",
            pointer="model.input.overlap",
        )
    return state


TASK = QuestionAnswering
