"""What a run found out: the content of ``results.json``, which the report, the demo and benchmarks read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from bigray.artifact import Step, write_atomically


class Estimate(BaseModel):
    """A metric with its 95 % bootstrap confidence interval."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    value: float
    low: float
    high: float
    rows: int


class Latency(BaseModel):
    """Measured speed of one model at one batch size."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    batch_size: int
    threads: int
    p50_ms: float
    p95_ms: float
    items_per_s: float
    spread: float
    """Interquartile range over median, of single runs: how noisy the machine was."""
    runs: int


class Variant(BaseModel):
    """One model, measured: the dense one, or a candidate of the search."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    engine: str
    steps: tuple[Step, ...] = ()
    metrics: dict[str, Estimate] = {}
    latency: list[Latency] = []
    """One per batch size, in the order of the recipe."""
    speedup: float = 1.0
    """How many times faster than the dense model in torch (on the same GPU, for one that runs there), measured interleaved
    with it; over several batch sizes the geometric mean (Fleming and Wallace 1986, CACM 29(3))."""
    speedups: tuple[float, ...] = ()
    """The same at each batch size."""
    size_bytes: int = 0
    memory_bytes: int | None = None
    """Peak resident memory of a process that serves it alone; None when not measured."""

    @property
    def least_speedup(self) -> float:
        """The speed-up at the batch size that gains least."""
        return min(self.speedups, default=self.speedup)

    @property
    def label(self) -> str:
        """Short name, e.g. ``openvino: prune_structured(ratio=0.3) + quantize_static``."""
        parts = []
        for step in self.steps:
            knobs = ", ".join(f"{key}={_short(value)}" for key, value in step.knobs.items() if value != "")
            parts.append(f"{step.method}({knobs})" if knobs else step.method)
        return f"{self.engine}: {' + '.join(parts) if parts else 'no compression'}"


class LayerCost(BaseModel):
    """What it costs to make one group of layers narrower, alone and without recovery; see `bigray.compress.sensitivity`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    layer: str
    """Name of the group's first layer."""
    drop_points: float
    saved_ms: float
    """At the recipe's first batch size; may be negative, by noise or because narrow layers can be slower."""
    whole_ms: float
    """Median time of the whole model on the same engine."""


class Early(BaseModel):
    """How far the primary metric had fallen in the middle of a candidate's training, on some validation rows; points."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    drop_points: float
    low: float
    """Lower end of the 95 % bootstrap interval."""
    high: float


class Trial(BaseModel):
    """One candidate of the search, finished or not."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    number: int
    status: Literal["ok", "failed", "skipped", "stopped"]
    """``skipped`` is not worth training, ``stopped`` was not worth going on with."""
    variant: Variant
    drop_points: float | None = None
    """How far the primary metric fell on the validation split, in points; negative when it rose."""
    early: Early | None = None
    """Where it was trained for long enough to be looked at meanwhile."""
    reason: str | None = None
    """Why it failed, or why it was not chosen."""
    seconds: float = 0.0
    cores: float = 1.0
    """Held meanwhile at most, those of a recovery on several workers included."""
    gpus: int = 0
    on_front: bool = False
    chosen: bool = False


class Verdict(BaseModel):
    """The check of the winner on rows that neither training nor search saw, in a fresh process."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    qualified: bool
    reason: str
    forced: bool = False
    """Handed out all the same, because the recipe said so."""
    max_drop: float
    """Points."""
    drop_points: float | None = None
    drop_low: float | None = None
    """Lower end of the 95 % bootstrap interval of the drop (paired over rows), in points."""
    drop_high: float | None = None
    speedup: float | None = None
    rows: int = 0


class Verified(BaseModel):
    """What the check measured of both models on the unseen rows: whatever the limits are."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    dropped: tuple[float, float, float]
    """Points of the primary metric: the value, and the ends of its 95 % bootstrap interval (paired over rows)."""
    rows: int
    dense: Variant
    chosen: Variant


class Sample(BaseModel):
    """An answer to an unseen row that is a file, to be looked at or listened to."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    input: str
    file: str
    """The answer, relative to the run's folder."""
    truth: str
    """What the row itself holds, likewise."""
    media_type: str


class Results(BaseModel):
    """One run, whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    task: str
    metric: str
    higher_is_better: bool
    max_drop: float
    """Points, on the validation split when the recipe's budget is relative."""
    started: str
    """UTC, ISO 8601."""
    seconds: dict[str, float] = {}
    """Stage -> wall time."""
    rows: dict[str, int] = {}
    """Split -> number of rows."""
    history: list[dict[str, Any]] = []
    """One entry per epoch: epoch, loss, learning_rate, seconds, rows, and validation metrics."""
    dense: Variant | None = None
    chosen: Variant | None = None
    trials: list[Trial] = []
    sensitivity: list[LayerCost] = []
    verdict: Verdict | None = None
    artifact: str | None = None
    """Folder of the artifact handed out, relative to the run's folder."""
    samples: list[Sample] = []
    """Answers of the model handed out, where they are files."""
    hardware: dict[str, Any] = {}
    versions: dict[str, str] = {}
    recipe: dict[str, Any] = {}

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        write_atomically(path, self.model_dump_json(indent=2))

    @classmethod
    def open(cls, path: Path) -> Results:
        """Read back what `save` wrote."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))


def _short(value: Any) -> str:
    if isinstance(value, str) and "," in value:  # names of layers
        return f"{value.count(',') + 1} layers"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
