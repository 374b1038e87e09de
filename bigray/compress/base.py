"""The contract of a compression method.

A method acts at one of two stages. ``network``: it changes the torch module before export (pruning), and quality may
then be won back by further training. ``graph``: it changes an exported model's files in place (quantization), as the
engines' own tools do that best. One of ``both`` prepares the module for what it will do to the files. A method's `Config` carries default, limits and search range of each knob in one place.
Each file in methods/ sets ``METHOD`` to an instance; heavy libraries are imported inside ``apply``, so that
knobs can be checked without them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from bigray.engines.base import Arrays, Program

if TYPE_CHECKING:
    import torch

    from bigray.tasks.base import Row, Task


def knob(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] | None = None,
    search: Sequence[Any] | tuple[float, float] | None = None,
) -> Any:
    """Declare one knob: its default, its limits (``low``..``high`` or ``choices``) and what is searched.

    ``search`` narrows what is tried when the recipe says nothing: a (low, high) pair for a number, a list for choices;
    an empty list leaves the knob at its default.
    """
    ranges = {"low": low, "high": high, "choices": choices, "search": search}
    extra: Any = {
        "knob": {key: list(value) if isinstance(value, tuple | list) else value for key, value in ranges.items()}
    }
    limits: dict[str, Any] = {} if low is None else {"ge": low, "le": high}
    return Field(default, json_schema_extra=extra, **limits)


class MethodConfig(BaseModel):
    """Knobs of a method; frozen, and unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True)
class Samples:
    """Training rows as methods of stage ``network`` see them."""

    task: Task
    calibration: Sequence[Row]
    """Some rows, to take statistics and gradients on."""
    training: Sequence[Row]
    """Every row that recovery may train on."""

    def batches(self, method: str, size: int = 16) -> Iterator[dict[str, torch.Tensor]]:
        """Yield the calibration rows encoded, inputs and targets, ``size`` rows at a time; ``method`` is for the message.

        Raises:
            ConversionError: There are none.
        """
        import torch

        rows = [row for row in self.calibration if self.task.fits(row)]
        if not rows:
            raise ConversionError(f"{method} needs calibration rows and got none.")
        for start in range(0, len(rows), size):
            batch = self.task.encode(rows[start : start + size])
            yield {name: torch.from_numpy(value.copy()) for name, value in batch.items()}


class Method(ABC):
    """One way to make a model smaller or faster."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised when the same knobs would give another result; stored in artifacts."""
    stage: ClassVar[Literal["network", "graph", "both"]]
    rank: ClassVar[int] = 0
    """Place among methods of stage ``network``, lowest first: whole layers go before channels, channels before factors."""
    needs_calibration: ClassVar[bool] = False
    needs_recovery: ClassVar[bool] = False
    """Whether further training wins back quality that this method costs."""
    Config: ClassVar[type[MethodConfig]]

    def available(self) -> str | None:
        """Return None when usable here, else the reason and the remedy in one sentence."""
        return None

    @abstractmethod
    def suits(self, task: Task, engine: str) -> str | None:
        """Return None when the method can act on this task's networks for this engine, else the reason."""

    def adapt(self, task: Task, config: Any) -> Task:
        """Return the task as it answers with a network that was changed so: with a shorter window, say. By default the same."""
        return task

    def prune(self, program: Program, config: Any, keep: Sequence[str], samples: Samples) -> None:
        """Change ``program.network`` in place (stages ``network`` and ``both``); recovery may follow.

        Raises:
            ConversionError: Nothing was changed, or the network cannot be changed this way.
        """
        raise NotImplementedError

    def finish(self, program: Program, config: Any, keep: Sequence[str]) -> None:
        """Make final what `prune` began; called after recovery and before export, also where nothing was recovered.

        Raises:
            ConversionError: The network is not what was asked for.
        """
        return

    def rewrite(self, directory: Path, engine: str, config: Any, calibration: Iterable[Arrays], task: Task) -> None:
        """Change one exported graph in place (stages ``graph`` and ``both``).

        ``calibration`` gives what this graph is fed, row by row, to methods that say ``needs_calibration``, and nothing to others.

        Raises:
            ConversionError: Nothing was converted (checked by operator types and file size, never assumed).
        """
        raise NotImplementedError


class ConversionError(RuntimeError):
    """A conversion ran without error and changed nothing, or changed what it must not."""
