"""What each part of a network costs: the quality lost when it alone is made narrower, and the time that saves. No Ray.

Each group of layers that prune_structured shrinks together is pruned by itself, without recovery, exported to the engine,
scored and timed beside the whole model on that engine (Li et al. 2017, arXiv 1608.08710, section 3.2, measure quality so;
time is ours). Groups that lose much and save little are offered to the search as parts to leave alone.
"""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bigray import measure
from bigray.artifact import MANIFEST, write_atomically
from bigray.compress.base import ConversionError, Samples
from bigray.compress.candidate import PROBE_S, Job, Workbench, usual_batch
from bigray.compress.methods import prune_structured
from bigray.compress.plan import Plan, carry_out, step
from bigray.engines.base import Session
from bigray.evaluate import answers
from bigray.predictor import Inference, Predictor, load_session, program
from bigray.results import LayerCost

SHARE = 0.5
"""Share of its channels that a group loses."""
LEAST_SAVING = 0.01
"""Of the whole model's time: what saves less counts as saving this, as less cannot be told from noise."""


def layers(bench: Workbench) -> list[str]:
    """Return the name of the first layer of each group, in the order of the network."""
    network = copy.deepcopy(bench.network)
    samples = Samples(bench.task, bench.job.calibration, bench.job.recovery)
    return prune_structured.groups(program(bench.task, network), bench.task.keep(network), samples)


def probe(bench: Workbench, engine: str, chosen: Sequence[str], every: Sequence[str], folder: Path) -> None:
    """Measure the groups ``chosen`` of ``every``, and leave each outcome in ``folder`` as soon as it is known."""
    job, task = bench.job, bench.task
    rows = job.evaluation[: job.recipe.compress.sensitivity_rows]
    with tempfile.TemporaryDirectory() as scratch:
        whole = _export(bench, Plan(engine=engine), Path(scratch) / "whole")
        base = task.score(answers(Predictor(task, whole), rows), rows)[task.primary.name]
        for number, layer in enumerate(chosen):
            others = ",".join(other for other in every if other != layer)
            plan = Plan(engine=engine, steps=(step("prune_structured", {"ratio": SHARE, "skip": others}),))
            cost: LayerCost | None = None
            try:
                narrow = _export(bench, plan, Path(scratch) / str(number))
            except ConversionError:  # too narrow already
                pass
            else:
                value = task.score(answers(Predictor(task, narrow), rows), rows)[task.primary.name]
                before_ms, after_ms = _times(bench, whole, narrow)
                narrow.close()
                lost = task.primary.drop(base, value)
                cost = LayerCost(layer=layer, drop_points=lost, saved_ms=before_ms - after_ms, whole_ms=before_ms)
            write_atomically(outcome(folder, every.index(layer)), cost.model_dump_json() if cost else "null")
        whole.close()


def outcome(folder: Path, number: int | str) -> Path:
    """Return where `probe` leaves the outcome of a group: a `LayerCost`, or null where it cannot be pruned by itself."""
    return folder / f"group-{number}.json"


def dearest(costs: Sequence[LayerCost]) -> list[str]:
    """Return the layers, those first that lose most points per millisecond saved."""

    def price(cost: LayerCost) -> float:
        return max(0.0, cost.drop_points) / max(cost.saved_ms, LEAST_SAVING * cost.whole_ms)

    return [cost.layer for cost in sorted(costs, key=lambda cost: (-price(cost), cost.layer))]


def key(job: Job, engine: str) -> str:
    """Return a digest of all that the costs depend on."""
    rows, method = job.recipe.compress.sensitivity_rows, prune_structured.METHOD
    parts = [
        (job.dense / MANIFEST).read_text(encoding="utf-8"),
        engine,
        method.version,
        rows,
        SHARE,
        job.recipe.compress.threads,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:10]


def _export(bench: Workbench, plan: Plan, folder: Path) -> Session:
    folder.mkdir()
    carry_out(plan, bench.task, copy.deepcopy(bench.network), bench.job.calibration, folder)
    return load_session(bench.task, bench.architecture, plan.engine, folder, bench.job.recipe.compress.threads)


def _times(bench: Workbench, whole: Session, narrow: Session) -> tuple[float, float]:
    """Return both medians in ms at the recipe's first batch size, measured interleaved."""
    task, settings = bench.task, bench.job.recipe.compress
    batch = usual_batch(task, bench.job.evaluation, settings.batch_sizes[0])
    sessions = {"whole": Inference(task, whole), "narrow": Inference(task, narrow)}
    with measure.quiet():
        race = measure.race(sessions, batch, seconds=PROBE_S, threads=settings.threads)
    return race.latency["whole"].p50_ms, race.latency["narrow"].p50_ms
