"""Twenty ways to hand out a model that is slower or worse than promised, and what becomes of each.

A trap is sprung with real training, search and verification on small data that comes with bigray. What is handed out is
judged again from its folder: raced against the dense model, and scored on the unseen rows. A trap holds when nothing was
handed out and the reason says why, or when what was handed out is faster and keeps the budget.
"""

from __future__ import annotations

import multiprocessing
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.form import Bar, at_most
from benchmarks.measures import rivals
from bigray import pipeline, plugins
from bigray import recipe as recipes
from bigray.artifact import MANIFEST, Artifact
from bigray.cluster import cluster
from bigray.compress import candidate
from bigray.digest import digest
from bigray.errors import ArtifactCorrupt, BigrayError
from bigray.progress import Display

SLOWER = 0.97
"""A ratio of times below this is slower; what lies between is noise of a machine that others use."""
TEXT, IMAGES = "text_classification.tiny", "image_classification.tiny"


@dataclass(frozen=True)
class Trap:
    """A recipe that asks for trouble."""

    name: str
    recipe: str
    overrides: Sequence[str]
    wants: str = ""
    """Words that must be in the reason, or in what the search says it leaves out."""
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    """What is wrong with the world meanwhile."""


def _methods(text: str, *others: str) -> list[str]:
    return [f"compress.methods={text}", *others]


def _openvino_is_missing() -> AbstractContextManager[Any]:
    engine = type(plugins.load("bigray.engines", "openvino").ENGINE)
    return patch.object(engine, "available", lambda self: "openvino is not installed; run: pip install openvino")


@contextmanager
def _job(**changes: Callable[[Any], Any]) -> Iterator[None]:
    """Change fields of the job that the search gets."""
    made = candidate.Job

    def changed(**given: Any) -> candidate.Job:
        return made(**{**given, **{name: change(given[name]) for name, change in changes.items()}})

    with patch.object(candidate, "Job", changed):
        yield


def _one_class(rows: Sequence[Any]) -> list[Any]:
    return [row for row in rows if row["label"] == rows[0]["label"]]


def _black(rows: Sequence[Any]) -> list[Any]:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return [{**row, "image": buffer.getvalue()} for row in rows]


def _poison(task: Any, network: Any, teacher: Any, rows: Any, recipe: Any) -> None:
    import torch

    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))


def _spin(stop: Any) -> None:
    while not stop.is_set():
        sum(range(10_000))


@contextmanager
def _busy() -> Iterator[None]:
    """Keep as many cores busy as there are."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    others = [context.Process(target=_spin, args=(stop,), daemon=True) for _ in range(multiprocessing.cpu_count())]
    for other in others:
        other.start()
    try:
        yield
    finally:
        stop.set()
        for other in others:
            other.join(10)


ALONE = "compress.engines=[torch_eager]"
DEEP = "compress.recover_epochs=0"
TRAPS = (
    Trap("a model too small to gain", TEXT, ["model.options={width: 8, hidden: 8}", "compress.engines=[openvino]"]),
    Trap("unstructured pruning alone", TEXT, _methods("[{name: prune_magnitude, knobs: {sparsity: 0.9}}]", ALONE)),
    Trap("2:4 sparsity without tensor cores", TEXT, _methods("[prune_2_4, quantize_dynamic]"), "prune_2_4"),
    Trap("dynamic 8 bits on convolutions", IMAGES, _methods("[quantize_dynamic]"), "made of convolutions"),
    Trap("dynamic 8 bits, one text at a time", TEXT, ["model.name=rnn", "compress.batch_sizes=[1]"]),
    Trap("static 8 bits on an LSTM", TEXT, _methods("[quantize_static]", "model.name=rnn")),
    Trap("4-bit weights alone", TEXT, _methods("[{name: quantize_weight_only, knobs: {bits: 4}}]")),
    Trap("calibration rows of one class", IMAGES, [], "", lambda: _job(calibration=_one_class)),
    Trap(
        "calibration rows that are black", IMAGES, _methods("[quantize_static]"), "", lambda: _job(calibration=_black)
    ),
    Trap(
        "a metric that is not a number",
        IMAGES,
        _methods("[{name: prune_structured, knobs: {ratio: 0.3}}]", "compress.recover_epochs=1"),
        "",
        lambda: _job(recover=lambda _: _poison),
    ),
    Trap(
        "three quarters pruned, no recovery", IMAGES, _methods("[{name: prune_structured, knobs: {ratio: 0.75}}]", DEEP)
    ),
    Trap("the only engine is missing", IMAGES, [], "openvino is not installed", _openvino_is_missing),
    Trap("one engine of two is missing", TEXT, [], "openvino is not installed", _openvino_is_missing),
    Trap("a latency nobody reaches", IMAGES, ["compress.p95_ms=0.0001"], "ms in the 95th percentile"),
    Trap("a size nobody reaches", IMAGES, ["compress.size_mb=0.0001"], "MB; at most"),
    Trap("a memory nobody reaches", TEXT, ["compress.memory_mb=1"], "MB of memory"),
    Trap("nothing may be lost", IMAGES, ["compress.max_drop=0", "compress.recover_epochs=1"]),
    Trap("16 rows to choose by", IMAGES, ["compress.evaluation_rows=16", DEEP]),
    Trap("all cores busy while measuring", TEXT, ["compress.trials=4"], "", _busy),
    Trap("low rank that saves nothing", TEXT, _methods("[{name: low_rank, knobs: {rank_ratio: 0.95}}]", ALONE)),
)


def run(data: Path | None, work: Path) -> list[Bar]:
    with cluster():  # one for all of them
        return _run(work)


def _run(work: Path) -> list[Bar]:
    slower = violations = silent = 0
    for number, trap in enumerate(TRAPS):
        said, folder, max_drop = _spring(trap, work / "traps" / f"{number:02}")
        speed, drop = _judge(folder) if folder is not None else (None, None)
        slower += speed is not None and speed < SLOWER
        violations += drop is not None and drop > max_drop + 1e-6
        silent += not said or trap.wants not in said
        outcome = f"handed out: {speed:.2f}x, {drop:.2f} points lost" if speed and drop is not None else "refused"
        print(f"{trap.name}: {outcome}. {said}", file=sys.stderr, flush=True)
    kept, marked = _forced(work / "traps" / "forced"), _tampered(work / "traps" / "forced")
    return [
        at_most(f"{len(TRAPS)} traps: slower models handed out", slower, 0, ""),
        at_most(f"{len(TRAPS)} traps: budgets broken", violations, 0, ""),
        at_most(f"{len(TRAPS)} traps: without the reason", silent, 0, ""),
        at_most("a poor model that was forced, not marked", not kept, 0, ""),
        at_most("a changed file that was not noticed", not marked, 0, ""),
    ]


def _spring(trap: Trap, work: Path) -> tuple[str, Path | None, float]:
    """Return what was said, the folder of the run if a model was handed out, and the budget in points."""
    said: list[str] = []

    def listen(event: dict[str, Any]) -> None:
        said.extend([event["left_out"]] if "left_out" in event else [])

    recipe = recipes.read(trap.recipe, [f"output={work}", *trap.overrides])
    # many traps begin with the same dense model
    own = work / recipe.name / f"train-{digest(recipe, 'train')}"
    trained = work.parent / "trained" / own.name
    if trained.is_dir() and not own.is_dir():
        shutil.copytree(trained, own)
    try:
        with trap.around():
            results = pipeline.run(recipe, listen)
    except BigrayError as error:
        return " ".join([*said, str(error)]), None, recipe.compress.max_drop
    finally:
        if (own / "dense" / MANIFEST).is_file() and not trained.is_dir():
            shutil.copytree(own, trained)
    assert results.verdict is not None
    return " ".join([*said, results.verdict.reason]), work / recipe.name, results.max_drop


def _judge(folder: Path) -> tuple[float, float]:
    """Return the speed-up over dense, and the points lost on the unseen rows, of what lies in a run's folder."""
    pair = rivals.open_run(folder)
    races = [rivals.beside_dense(pair, pair.chosen, size) for size in pair.recipe.compress.batch_sizes]
    slowest = min(race.speedup("dense", "other") for race in races)
    metric = pair.task.primary
    return slowest, metric.drop(pair.score(pair.dense), pair.score(pair.chosen))


def _forced(work: Path) -> bool:
    """Whether a model that was forced out against its budget says so in its manifest."""
    wanted = _methods("[{name: prune_structured, knobs: {ratio: 0.75}}]", DEEP, "compress.force=true")
    wanted += ["compress.size_mb=0.0001"]  # which nothing reaches
    recipe = recipes.read(IMAGES, [f"output={work}", "compress.max_drop=0.1", *wanted])
    with Display() as display:
        pipeline.run(recipe, display)
    verdict = Artifact.open(work / recipe.name / "artifact").manifest.verdict
    return bool(verdict["forced"] and not verdict["qualified"] and verdict["reason"])


def _tampered(work: Path) -> bool:
    """Whether an artifact of which one byte was changed is refused."""
    folder = next(work.glob("*/artifact"))
    file = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = np.frombuffer(file.read_bytes(), np.uint8).copy()
    content[len(content) // 2] ^= 1
    file.write_bytes(content.tobytes())
    try:
        Artifact.open(folder)
    except ArtifactCorrupt:
        return True
    return False
