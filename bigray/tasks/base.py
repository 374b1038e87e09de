"""The contract of a task, and the life of a batch.

A task is a noun: it knows its data, its network and its answer, and no verb. The verbs (train, compress, serve) know
this contract and no task. One batch lives like this::

    rows      list of dicts                     {"text": "a fine film", "label": "positive"}
      │ split     in answering only             [row], or one piece per window of a long document or recording
      │ encode    numpy, no torch               the same code in the training loop and in the serving replica
    batch     dict of arrays                    {"input_ids": (N, T) int64, "attention_mask": (N, T), "target": (N,)}
      │ forward   torch, in training            or infer: Session.run of an engine, once or step by step
    outputs   dict of arrays                    {"logits": (N, C) float32}
      ├ loss      torch scalar                  training only
      └ decode    numpy, no torch               what was found in each piece
          │ merge                               [Label(label="positive", score=0.98), ...], one answer per row
          │ score
    metrics   dict of floats                    {"accuracy": 0.91}

What a task learns from its training rows (label names, a tokenizer, the sample rate) is its `State`: frozen data that
is written next to the weights and read back by replicas. `inputs` names the arrays of a batch that the network takes;
the others are targets, or tell `decode` which row a window belongs to, where a task cuts rows into windows (the first
axis is then the window). Sizes: N rows, T steps in time, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from bigray.models.base import Architecture
from bigray.recipe import Data, Model
from bigray.schemas import CONTRACTS, Contract, Wire
from bigray.tasks._agreement import alike

if TYPE_CHECKING:
    import torch
    from torch import nn

Row = dict[str, Any]
"""One example: the fields of the task, e.g. ``text`` and ``label``; images and audio are the bytes of a file. Rows of a
training batch also have ``draw``, a random number from 0 to 1, by which a task picks the window it learns from."""
Batch = dict[str, np.ndarray]
"""Arrays whose first axis is the row."""


@dataclass(frozen=True)
class Metric:
    """A number that says how good a model is, between 0 and 1 unless said otherwise."""

    name: str
    higher_is_better: bool = True

    def drop(self, dense: float, candidate: float) -> float:
        """Return how much worse the candidate is, in points (hundredths); negative when it is better."""
        return 100.0 * ((dense - candidate) if self.higher_is_better else (candidate - dense))


@dataclass(frozen=True)
class Vocabulary:
    """How the rows of a task become token ids."""

    input: str
    """Name of the array of ids among the task's `inputs`."""
    size: int
    """Ids are 0 to size - 1."""
    unknown: int | None
    """Id of the token for text that has none of its own; None when the tokenizer spells every text."""
    special: tuple[int, ...]
    """Ids of padding and of markers that are no text."""


@dataclass(frozen=True)
class Graph:
    """One exported graph of a network, of several where an answer is made step by step."""

    forward: Callable[[nn.Module, Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]
    """As `Task.forward`."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dynamic: Mapping[str, Mapping[int, str]]
    example: Callable[[Batch, Batch], Batch] = lambda batch, outputs: batch
    """(batch, outputs of the first graph) -> arrays to trace with."""


Run = Callable[..., Batch]
"""``run(arrays, part="")``: carries out one exported graph; `Session.run` of an engine."""


class State(BaseModel):
    """What a task learned from its training rows and its recipe; JSON in the artifact."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


_State = State  # inside the class, State is the class's own


class Task(ABC):
    """One task with its learned state. Subclasses live one per file; the file sets ``TASK`` to its class."""

    name: ClassVar[str]
    """File name, key in recipes and in `bigray.schemas.CONTRACTS`."""
    fields: ClassVar[Mapping[str, str]]
    """Fields of a row -> what they are, e.g. ``{"text": "the text", "label": "its class"}``. Sources must fill them."""
    primary: ClassVar[Metric]
    """The metric that budgets and searches go by."""
    inputs: ClassVar[tuple[str, ...]]
    """Arrays the network takes, in order."""
    outputs: ClassVar[tuple[str, ...]]
    """Arrays the network returns, in order."""
    dynamic: ClassVar[Mapping[str, Mapping[int, str]]]
    """Input array -> axis -> name of an axis whose size varies; the same name means the same size."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Recipe values this task sets by itself, under the user's own."""
    settles: ClassVar[bool] = False
    """Whether `settled` learns anything."""
    together: ClassVar[int | None] = None
    """Pieces of long inputs that go through the model together, where fewer than usual are best."""
    longest_s: float = 6 * 3600.0
    """Seconds of sound in one row at most, where it is read as a stream; a replica sets its own limit."""
    model_type: ClassVar[str | None] = None
    """``transformer`` when the network is one; quantizers treat attention with care then."""

    State: ClassVar[type[_State]]

    def __init__(self, state: _State) -> None:
        self.state = state

    @property
    def contract(self) -> Contract:
        """The wire form of this task."""
        return CONTRACTS[self.name]

    @classmethod
    @abstractmethod
    def prepare(cls, data: Data, model: Model, rows: Sequence[Row]) -> Self:
        """Learn the state from training rows (up to 100,000 of them are given, without media bytes where possible).

        Raises:
            DataError: The rows cannot serve this task (a single class, no text, ...).
            ModelNotFound: The tokenizer or configuration of a pretrained model cannot be had.
        """

    @abstractmethod
    def architecture(self, model: Model) -> Architecture:
        """Say which network fits this state, every dimension filled in.

        Raises:
            RecipeError: The network does not suit the task.
        """

    def split(self, row: Row, parameters: Wire | None = None) -> Iterator[Row]:
        """Yield the pieces of a row that are answered one by one; a row that fits into one window is its own piece.

        Pieces are rows that `encode` takes. They are made and answered a few at a time, so memory stays flat however
        long the input is. Raises as `encode`.
        """
        yield row

    def merge(self, row: Row, found: Sequence[Any], parameters: Wire | None = None) -> Any:
        """Return the answer for a row from what `decode` found in its pieces, which come in order."""
        return found[0]

    @abstractmethod
    def encode(self, rows: Sequence[Row]) -> Batch:
        """Turn rows into arrays: the `inputs`, and the targets when every row has them. Numpy only.

        The answer for a row must not depend on its neighbours in the batch.

        Raises:
            InvalidInput: A row cannot be read (not an image, empty text, ...).
            TooLarge, UnsupportedMedia: Media over a limit or of a kind not accepted.
        """

    @abstractmethod
    def forward(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Run the network on the `inputs` of a batch; return its `outputs`. Must be exportable (no data-dependent Python)."""

    @abstractmethod
    def loss(
        self, outputs: Mapping[str, torch.Tensor], batch: Mapping[str, torch.Tensor], smoothing: float = 0.0
    ) -> torch.Tensor:
        """Return the scalar training loss, the mean over rows."""

    @property
    def graphs(self) -> Mapping[str, Graph]:
        """Exported graphs by name, the first one named "". What training runs is `forward`, which is that first one
        unless answers are made step by step.
        """
        return {"": Graph(self.forward, self.inputs, self.outputs, self.dynamic)}

    def infer(self, run: Run, batch: Batch, parameters: Wire | None = None) -> Batch:
        """Return what `decode` reads, by running the exported graphs; generators loop here. Numpy only."""
        return run(batch)

    @abstractmethod
    def decode(self, outputs: Batch, batch: Batch, parameters: Wire | None = None) -> list[Any]:
        """Turn output arrays into what was found in each row or piece. Numpy only.

        Where `merge` is not overridden these are the answers, of the type `contract.output` checks.
        """

    @abstractmethod
    def score(self, answers: Sequence[Any], rows: Sequence[Row]) -> dict[str, float]:
        """Compare answers with the rows' truth; return every metric, `primary` among them."""

    def agrees(self, answer: Any, other: Any) -> bool:
        """Say whether another version's answer to the same input says what ``answer`` says, in what callers act on."""
        return alike(answer, other)

    @abstractmethod
    def example(self, count: int, size: int | None = None) -> list[Row]:
        """Return rows without truth, made here, for warm-up, export and timing; ``size`` in the task's own unit."""

    def distance(
        self,
        outputs: Mapping[str, torch.Tensor],
        taught: Mapping[str, torch.Tensor],
        batch: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """Return how far outputs are from a teacher's, a scalar for distillation.

        ``logits`` over classes in the last axis: Kullback-Leibler divergence at temperature 2 (arXiv 1503.02531);
        other outputs: squared error in units of the teacher's variance. What a network says while it trains alone, the
        teacher does not, and is left out.
        """
        from torch.nn import functional

        total = None
        for name, known in taught.items():
            if name == "logits":
                student = functional.log_softmax(outputs[name] / 2.0, -1).flatten(0, -2)
                teacher = functional.log_softmax(known / 2.0, -1).flatten(0, -2)
                part = 4.0 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
            else:
                part = functional.mse_loss(outputs[name], known) / known.var().clamp(min=1e-6)
            total = part if total is None else total + part
        if total is None:
            raise ValueError("The network returned no outputs.")
        return total

    def for_scoring(self) -> Wire | None:
        """Parameters of `decode` when answers are scored (detection wants low-scoring boxes too)."""
        return None

    def settled(self, answers: Sequence[Any], rows: Sequence[Row]) -> Self:
        """Return this task with what only a trained network can tell, from its answers to validation rows (thresholds).

        Called once, after training, when `settles`.
        """
        return self

    def drawn_together(self, row: Row) -> str | None:
        """Return what a row shares with rows that it is not independent of; a bootstrap draws such rows together."""
        return None

    @property
    def positions(self) -> int | None:
        """Steps of the window that every input is filled up to; None where a short input takes less time than a long one."""
        return None

    def with_positions(self, positions: int) -> Self:
        """Return this task with a window of so many steps; for those that have `positions`."""
        raise NotImplementedError

    def fits(self, row: Row) -> bool:
        """Say whether a row to learn from lies within one window."""
        return True

    def keep(self, network: nn.Module) -> list[str]:
        """Return the names of modules whose output width no method may change (the head)."""
        return []

    def vocabulary(self) -> Vocabulary | None:
        """Return how rows become token ids; None when they do not."""
        return None

    def amounts(self, batch: Batch) -> dict[str, float]:
        """Return what a batch amounts to besides rows, for counting: ``tokens``, or seconds of sound as ``audio_s``."""
        return {"tokens": float(batch["attention_mask"].sum())} if "attention_mask" in batch else {}

    def asked(self, row: Row) -> Row:
        """Return what a caller would send of a row: its truth left out."""
        return {name: row[name] for name in self.contract.fields}

    def item_bytes(self, row: Row) -> int:
        """Return how much a row weighs in a batch; rows of about the same weight batch well."""
        return sum(len(row[field]) for field in self.contract.fields)

    def save(self, directory: Path) -> None:
        """Write the state (and in subclasses the tokenizer) into an existing, empty directory."""
        (directory / "task.json").write_text(self.state.model_dump_json(indent=2), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read back what `save` wrote."""
        return cls(cls.State.model_validate_json((directory / "task.json").read_text(encoding="utf-8")))
