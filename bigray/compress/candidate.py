"""One candidate: carry out its plan, score it, and measure it against the dense model. No Ray."""

from __future__ import annotations

import copy
import math
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import geometric_mean
from typing import TYPE_CHECKING, Any

from bigray import measure
from bigray.artifact import Artifact, Step, write_atomically
from bigray.compress import plan as plans
from bigray.compress.base import ConversionError, Samples
from bigray.compress.objective import Limits, hopeless, outrun
from bigray.compress.plan import Plan, adapted, carry_out, complete, method
from bigray.compress.weigh import peak_memory
from bigray.engines.base import Session
from bigray.evaluate import answers, drop, estimates
from bigray.models.base import Architecture, build
from bigray.predictor import Inference, Predictor, load_session, load_task, open_artifact, program
from bigray.recipe import Recipe
from bigray.results import Early, Estimate, Latency, Trial, Variant, Verified
from bigray.tasks.base import Batch, Row, Task

if TYPE_CHECKING:
    from torch import nn

PROBE_S = 0.5
"""Time for measuring a candidate that is not trained yet."""

EVERY = 4
"""In the middle of its training a candidate is scored on one of so many evaluation rows."""
WORTH = 2.0
"""And only if training took so many times what a first look at it took, export and conversion included, until there."""

Recover = Callable[[Task, Any, Any, Sequence[Row], Recipe, Callable[[], None]], object]
"""(task, pruned network, dense network, rows, recipe, glance): trains the pruned network in place; see `bigray.train.recover`."""


@dataclass(frozen=True)
class Job:
    """All that a candidate needs, the same for every one of a search."""

    recipe: Recipe
    dense: Path
    """Artifact of the dense model, engine torch_eager."""
    directory: Path
    """Where candidates leave files; shared between nodes."""
    evaluation: Sequence[Row]
    calibration: Sequence[Row]
    recovery: Sequence[Row]
    dense_metric: float
    """The dense model's primary metric on the evaluation rows."""
    recover: Recover
    cores: float = 1.0
    """What a candidate holds while it is worked on, at most."""
    gpus: int = 0


@dataclass
class Workbench:
    """The dense model, loaded once per process, and what each candidate does with it."""

    job: Job
    task: Task = field(init=False)
    reference: Predictor = field(init=False)
    """The dense model as training left it."""
    network: nn.Module = field(init=False)
    """The dense network, never changed."""
    architecture: Architecture = field(init=False)
    _sessions: dict[str, Session] = field(init=False)
    """Engine -> the dense model on it."""
    _glanced: list[Any] | None = field(init=False, default=None)
    """The dense model's answers to the rows that `glance` looks at."""

    def __post_init__(self) -> None:
        artifact = Artifact.open(self.job.dense)
        manifest = artifact.manifest
        self.task = load_task(manifest.task, artifact.task_dir)
        self.architecture, self._weights = manifest.architecture, artifact.model_dir
        self._sessions = {manifest.engine: self.open(manifest.engine, artifact.model_dir)}
        self.reference = Predictor(self.task, self._sessions[manifest.engine])
        self.network = self._load()

    def open(self, engine: str, directory: Path) -> Session:
        """Load exported files of this architecture."""
        return load_session(self.task, self.architecture, engine, directory, self.job.recipe.compress.threads)

    def dense(self, engine: str) -> Session:
        """Return the dense model as it runs where ``engine`` does."""
        name = plans.runtime(engine).reference
        if name not in self._sessions:
            self._sessions[name] = self.open(name, self._weights)
        return self._sessions[name]

    def _load(self) -> nn.Module:
        from bigray.models import _weights

        network = build(self.architecture, pretrained=False)
        _weights.load(network, self._weights)
        return network.eval()

    def objection(self, one: Step) -> str | None:
        """Return why a method finds nothing to do in the dense network with these knobs, or None."""
        kind, network = method(one.method), copy.deepcopy(self.network)
        samples = Samples(self.task, self.job.calibration, self.job.recovery)
        try:
            kind.prune(
                program(self.task, network), kind.Config.model_validate(one.knobs), self.task.keep(network), samples
            )
        except ConversionError as error:
            return str(error)
        except Exception:  # whatever else it is, a candidate will fail by it and tell
            return None
        return None

    def run(self, plan: Plan) -> Trial:
        """Try one plan; a failure is a row of the report, never an exception.

        The outcome is kept under the plan's key: the same plan is never worked on twice, in this search or in one that
        goes on after a crash.
        """
        folder = self.job.directory / plan.key
        kept = folder / "trial.json"
        if kept.is_file():
            return Trial.model_validate_json(kept.read_text(encoding="utf-8"))
        begun = time.monotonic()
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "model").mkdir(parents=True)
        try:
            trial = self._try(plan, folder / "model")
        except Exception as error:
            (folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            variant = Variant(engine=plan.engine, steps=plan.steps)
            text = " ".join(str(error).split())[:300]
            trial = Trial(number=0, status="failed", variant=variant, reason=f"{type(error).__name__}: {text}")
        held = {"cores": self.job.cores, "gpus": self.job.gpus}
        trial = trial.model_copy(update={"seconds": time.monotonic() - begun, **held})
        write_atomically(kept, trial.model_dump_json(indent=2))
        return trial

    def _try(self, plan: Plan, directory: Path) -> Trial:
        job, recipe = self.job, self.job.recipe
        limits = Limits.of(recipe.compress, job.dense_metric)
        network, early = copy.deepcopy(self.network), None
        if self._trains(plan):
            # what it will weigh and how fast it will be do not depend on training, which takes most of the time
            begun = time.monotonic()
            with tempfile.TemporaryDirectory(dir=directory.parent) as untrained:
                carry_out(
                    plan,
                    self.task,
                    copy.deepcopy(self.network),
                    job.calibration,
                    Path(untrained),
                    training=job.recovery,
                )
                sketch, answering = self._measure(plan, Path(untrained), seconds=PROBE_S)
                answering.session.close()
            if reason := hopeless(sketch, finished(job.directory)):
                return Trial(number=0, status="skipped", variant=sketch, reason=f"not trained: it {reason}")
            training = _Training(self, plan, sketch, time.monotonic() - begun)
            try:
                carry_out(plan, self.task, network, job.calibration, directory, training, job.recovery)
            except Stopped as stopped:
                return Trial(number=0, status="stopped", variant=sketch, early=training.early, reason=f"it {stopped}")
            early = training.early
        else:
            carry_out(plan, self.task, network, job.calibration, directory, training=job.recovery)
        variant, answering = self._measure(plan, directory)
        with measure.work():
            scores = self.task.score(answers(answering, job.evaluation), job.evaluation)
        answering.session.close()
        metric, count = self.task.primary, len(job.evaluation)
        if not math.isfinite(scores[metric.name]):
            raise ValueError(f"{metric.name} is {scores[metric.name]}: the model's outputs are not numbers")
        estimated = {name: Estimate(value=v, low=v, high=v, rows=count) for name, v in scores.items()}
        memory = None
        if limits.memory_bytes is not None:
            memory = peak_memory(job.dense, plan, directory, recipe.compress.threads)
        return Trial(
            number=0,
            status="ok",
            variant=variant.model_copy(update={"metrics": estimated, "memory_bytes": memory}),
            drop_points=metric.drop(job.dense_metric, scores[metric.name]),
            early=early,
        )

    def glance(self, plan: Plan, network: nn.Module) -> Early:
        """Score a network in the middle of its training as it would be if that ended here; it is not changed."""
        rows = self.job.evaluation
        if not any(self.task.drawn_together(row) for row in rows):  # of pairs, a part would not do
            rows = rows[::EVERY]
        if self._glanced is None:
            self._glanced = answers(self.reference, rows)
        with tempfile.TemporaryDirectory(dir=self.job.directory) as scratch:
            keep, task = self.task.keep(self.network), adapted(plan, self.task)
            complete(plan, task, copy.deepcopy(network).cpu(), keep, self.job.calibration, Path(scratch))
            session = self.open(plan.engine, Path(scratch))
            with measure.work():
                found = answers(Predictor(task, session), rows)
            session.close()
        value, low, high = drop(self.task, self._glanced, found, rows, self.job.recipe.seed)
        return Early(drop_points=value, low=low, high=high)

    def _trains(self, plan: Plan) -> bool:
        return self.job.recipe.compress.recover_epochs > 0 and any(
            method(step.method).needs_recovery for step in plan.steps
        )

    def _measure(self, plan: Plan, directory: Path, seconds: float = 1.5) -> tuple[Variant, Predictor]:
        """Return how fast and how large a candidate is, and what answers with it."""
        recipe = self.job.recipe
        candidate = Predictor(adapted(plan, self.task), self.open(plan.engine, directory))
        dense = Predictor(self.task, self.dense(plan.engine))
        latency, speedups = compare(dense, candidate, self.job.evaluation, recipe, seconds=seconds)
        variant = Variant(
            engine=plan.engine,
            steps=plan.steps,
            latency=latency["candidate"],
            speedup=geometric_mean(speedups),
            speedups=tuple(speedups),
            size_bytes=measure.directory_bytes(directory),
        )
        return variant, candidate


class Stopped(Exception):
    """A candidate is not worth training any further; the message says why."""


class _Training:
    """Recovery of one candidate, looked at in the middle.

    Args:
        bench: Where it is worked on.
        plan: What is done to it.
        sketch: How fast and large it is.
        look_s: Seconds that finding that out took.
    """

    def __init__(self, bench: Workbench, plan: Plan, sketch: Variant, look_s: float) -> None:
        self._bench, self._plan, self._sketch, self._look_s = bench, plan, sketch, look_s
        self.early: Early | None = None

    def __call__(self, network: nn.Module) -> None:
        """Train it in place.

        Raises:
            Stopped: Another candidate had clearly done better by then.
        """
        bench, job, begun = self._bench, self._bench.job, time.monotonic()
        task = adapted(self._plan, bench.task)
        rows = [row for row in job.recovery if task.fits(row)]

        def glance() -> None:
            if time.monotonic() - begun < WORTH * self._look_s:
                return
            self.early = bench.glance(self._plan, network)
            if reason := outrun(self._sketch, self.early, finished(job.directory)):
                raise Stopped(reason)

        job.recover(task, network, bench.network, rows, job.recipe, glance)


def finished(directory: Path) -> list[Trial]:
    """Return the outcomes kept so far in a search's folder, in the order in which they ended."""
    paths = sorted(directory.glob("*/trial.json"), key=lambda path: (path.stat().st_mtime_ns, path))
    return [Trial.model_validate_json(path.read_text(encoding="utf-8")) for path in paths]


def usual_batch(task: Task, rows: Sequence[Row], size: int) -> Batch:
    """Return a batch of rows of about median size."""
    return task.encode(_usual(task, rows, size))


def _usual(task: Task, rows: Sequence[Row], size: int) -> Sequence[Row]:
    ordered = sorted(rows, key=task.item_bytes)
    start = max(0, len(ordered) // 2 - size // 2)
    return [task.asked(row) for row in (ordered[start:] + ordered)[:size]]


def same_rows(dense: Task, candidate: Task, rows: Sequence[Row], size: int) -> tuple[Batch, Batch]:
    """Return a batch of rows of about median size, as each of two tasks takes them.

    Where their windows differ: what one window of the dense model's holds of each row, in as many of the candidate's as that
    takes.
    """
    chosen = _usual(dense, rows, size)
    if candidate is dense:
        batch = dense.encode(chosen)
        return batch, batch
    first = [next(iter(dense.split(row))) for row in chosen]
    return dense.encode(first), candidate.encode([piece for row in first for piece in candidate.split(row)])


def compare(
    dense: Predictor, candidate: Predictor, rows: Sequence[Row], recipe: Recipe, *, seconds: float = 1.5
) -> tuple[dict[str, list[Latency]], list[float]]:
    """Measure two models interleaved at the recipe's batch sizes, on rows of about median size.

    Returns the latencies of ``dense`` and ``candidate``, and the speed-up at each batch size: the median of the rounds'
    ratios, in wall or in processor time, whichever is smaller.
    """
    sessions = {
        "dense": Inference(dense.task, dense.session),
        "candidate": Inference(candidate.task, candidate.session),
    }
    found: dict[str, list[Latency]] = {"dense": [], "candidate": []}
    speedups = []
    for size in recipe.compress.batch_sizes:
        batch, other = same_rows(dense.task, candidate.task, rows, size)
        with measure.quiet():
            race = measure.race(
                sessions, batch, own={"candidate": other}, seconds=seconds, threads=recipe.compress.threads
            )
        for name, entries in found.items():
            entries.append(race.latency[name])
        speedups.append(race.believed("dense", "candidate"))
    return found, speedups


def dense_answers(recipe: Recipe, dense: Path, rows: Sequence[Row]) -> list[Any]:
    """Return what the dense model answers."""
    predictor = open_artifact(dense, threads=recipe.compress.threads)
    return answers(predictor, rows)


def verify(
    recipe: Recipe, dense: Path, candidate: Path, plan: Plan, rows: Sequence[Row], before: Sequence[Any]
) -> Verified:
    """Measure a candidate on unseen rows, beside the dense model, which has answered them with ``before``.

    Meant for a fresh process, so that nothing of the search lingers. ``candidate`` is a folder of engine files.
    """
    artifact = Artifact.open(dense)
    manifest = artifact.manifest
    task = load_task(manifest.task, artifact.task_dir)
    answering = adapted(plan, task)
    threads, reference = recipe.compress.threads, plans.runtime(plan.engine).reference

    def loaded() -> tuple[Predictor, Predictor]:
        old = load_session(task, manifest.architecture, reference, artifact.model_dir, threads)
        new = load_session(answering, manifest.architecture, plan.engine, candidate, threads)
        return Predictor(task, old), Predictor(answering, new)

    old, new = loaded()
    after = answers(new, rows)
    dropped = drop(task, before, after, rows, recipe.seed)
    # twice, the second time loaded anew: where weights lie in memory and who else is at work make a difference
    first = compare(old, new, rows, recipe, seconds=1.5)
    old.session.close()
    new.session.close()
    second = compare(*loaded(), rows, recipe, seconds=1.5)
    speedups = tuple(map(min, first[1], second[1]))
    latency, _ = min(first, second, key=lambda race: geometric_mean(race[1]))
    dense_variant = Variant(
        engine=reference,
        metrics=estimates(task, before, rows, recipe.seed),
        latency=latency["dense"],
        size_bytes=measure.directory_bytes(artifact.model_dir),
        memory_bytes=peak_memory(dense, Plan(engine=reference), artifact.model_dir, threads),
    )
    chosen = Variant(
        engine=plan.engine,
        steps=plan.steps,
        metrics=estimates(task, after, rows, recipe.seed),
        latency=latency["candidate"],
        speedup=geometric_mean(speedups),
        speedups=speedups,
        size_bytes=measure.directory_bytes(candidate),
        memory_bytes=peak_memory(dense, plan, candidate, threads),
    )
    return Verified(dropped=dropped, rows=len(rows), dense=dense_variant, chosen=chosen)
