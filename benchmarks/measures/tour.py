"""All tasks on one local cluster: the tiny recipe of each from data to endpoint, which answers as the artifact does."""

from __future__ import annotations

import base64
import io
import sys
import time
from pathlib import Path
from typing import Any

import soundfile

from benchmarks.form import Bar, at_least, at_most
from bigray import pipeline, plugins
from bigray import recipe as recipes
from bigray.client import Client
from bigray.cluster import cluster
from bigray.data import sources
from bigray.predictor import open_artifact
from bigray.progress import Display
from bigray.schemas import CONTRACTS
from bigray.serve import config
from bigray.serve.listen import Listen
from bigray.tasks.base import Row

ROWS = 5
PORT = 8767
TOLERANCE = 1e-5
"""Largest difference of two numbers that count as the same."""
SOUND_TOLERANCE = 5e-3
"""That of two samples of a sound, of full scale 1: finding phases makes rounding of another number of threads larger."""
WAV = "UklGR"
"""How a WAV file begins in base64."""


def run(data: Path | None, work: Path) -> list[Bar]:
    begun = time.monotonic()
    bars: list[Bar] = []
    with cluster():
        for task in plugins.names("bigray.tasks"):
            bars += _visit(task, work / "tour")
    return [*bars, at_most("minutes for all tasks", (time.monotonic() - begun) / 60, 15, "min")]


def _visit(task: str, work: Path) -> list[Bar]:
    begun = time.monotonic()
    recipe = recipes.read(f"{task}.tiny", [f"output={work}"])
    with Display() as display:
        results = pipeline.run(recipe, display)
    assert results.chosen is not None
    trained = time.monotonic() - begun
    splits = sources.load(recipe.data, pipeline.task_class(recipe), recipe.seed)
    wanted = CONTRACTS[task].fields
    rows = [{field: row[field] for field in wanted} for row in sources.take(splits.test, ROWS, recipe.seed)]
    folder = work / recipe.name
    models = {f"{recipe.name}-dense": next(folder.glob("train-*/dense")), recipe.name: folder / "artifact"}
    same = _agree(task, models, rows)
    print(
        f"{task}: {results.chosen.label}, {results.chosen.speedup:.2f}x; "
        f"{trained:.0f} s to the artifact, {time.monotonic() - begun - trained:.0f} s served",
        file=sys.stderr,
        flush=True,
    )
    return [
        at_least(f"{task}, {kind}: same answers of {len(rows)}, endpoint and artifact", count, len(rows), "")
        for kind, count in zip(("dense", "chosen"), same, strict=True)
    ]


def _agree(task: str, models: dict[str, Path], rows: list[Row]) -> list[int]:
    """Serve the models and return, for each, how many rows its endpoint answers as its artifact does."""
    contract, found = CONTRACTS[task], []

    def plain(answer: Any) -> Any:
        return contract.output.dump_python(answer, mode="json", exclude_none=True)

    config.deploy_all(models, listen=Listen(port=PORT))
    with Client(config.base_url(), timeout_s=60) as client:
        for name, folder in models.items():
            predictor = open_artifact(folder)
            local = [plain(predictor.predict([row])[0]) for row in rows]
            values = [row if contract.input is not None else row[contract.field] for row in rows]
            served = [plain(client.predict(task, value, model=name)) for value in values]
            found.append(sum(alike(one, other) for one, other in zip(local, served, strict=True)))
    for name in models:
        config.undeploy(name)
    return found


def alike(one: Any, other: Any) -> bool:
    """Whether two answers are the same; numbers may differ by `TOLERANCE`."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= TOLERANCE
    if isinstance(one, str) and isinstance(other, str) and one.startswith(WAV) and other.startswith(WAV):
        (first, rate), (second, other_rate) = (
            soundfile.read(io.BytesIO(base64.b64decode(text))) for text in (one, other)
        )
        return rate == other_rate and len(first) == len(second) and bool(abs(first - second).max() <= SOUND_TOLERANCE)
    return bool(one == other)
