"""The demo: sentiment, handwritten digits and spoken words, from data to answers over HTTP, on this machine.

Everything it needs comes as Python packages; nothing is left running.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bigray import pipeline
from bigray import recipe as recipes
from bigray.cluster import cluster
from bigray.progress import Display
from bigray.recipe import Recipe
from bigray.results import Results
from bigray.schemas import CONTRACTS
from bigray.tasks.base import Row

RECIPES = ("demo_sentiment", "demo_digits", "demo_words")
PORT = 8765
CALLS = 20


def run(output: str | Path = "runs/demo") -> list[Results]:
    """Run the three recipes, serve the chosen models, call them, and print one table.

    Args:
        output: Folder for artifacts and reports.

    Raises:
        BigrayError: Whatever a run raises; nothing is left running then either.
    """
    console, begun = Console(width=110, highlight=False), time.monotonic()
    folder = Path(__file__).parent / "recipes"
    chosen = [recipes.read(folder / f"{name}.yaml", [f"output={output}"]) for name in RECIPES]
    for recipe in chosen:
        pipeline.check(recipe)
    finished: list[Results] = []
    with cluster(dashboard=True) as dashboard:
        console.print(f"Ray dashboard: http://{dashboard} (asks for the token in RAY_AUTH_TOKEN of this process)")
        for number, recipe in enumerate(chosen, 1):
            console.rule(f"{number} of {len(chosen)}: {recipe.name}, {recipe.task.replace('_', ' ')}")
            with Display(console) as display:
                finished.append(pipeline.run(recipe, display))
        console.rule("serving")
        answered = _serve(chosen, console)
    _table(chosen, finished, answered, console)
    console.print(f"Done in {(time.monotonic() - begun) / 60:.1f} minutes; nothing is left running.")
    return finished


def _serve(chosen: list[Recipe], console: Console) -> dict[str, str]:
    from bigray.client import Client
    from bigray.serve import config
    from bigray.serve.listen import Listen

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    answered = {}
    try:
        for recipe in chosen:
            artifact = _folder(recipe) / "artifact"
            url = config.deploy(artifact, recipe.endpoint, settings=recipe.serve, listen=Listen(port=PORT))
            console.print(f"{recipe.endpoint} answers at {url}")
        with Client(config.base_url(), timeout_s=60) as client:
            for recipe in chosen:
                answered[recipe.name] = _call(client, recipe)
    finally:
        for name in config.status():
            config.undeploy(name)
    return answered


def _call(client: Any, recipe: Recipe) -> str:
    rows = _samples(recipe)
    right = 0
    for row in rows:
        value = row[CONTRACTS[recipe.task].field]
        answer = getattr(client, recipe.task)(value, model=recipe.endpoint)
        found, truth = (answer.text, row["text"]) if recipe.task.startswith("auto") else (answer[0].label, row["label"])
        right += found == truth
    return f"{right} of {len(rows)} right"


def _samples(recipe: Recipe) -> list[Row]:
    # the same split as in the run: rows that training and search never saw
    from bigray.data import sources

    splits = sources.load(recipe.data, pipeline.task_class(recipe), recipe.seed)
    return sources.take(splits.test, CALLS, recipe.seed)


def _table(chosen: list[Recipe], finished: list[Results], answered: dict[str, str], console: Console) -> None:
    table = Table(title="dense model against chosen model, one thread, batch of one, unseen rows")
    for heading in ("", "metric", "dense", "chosen", "p50 ms dense", "p50 ms chosen", "speed-up", "size", "over HTTP"):
        table.add_column(heading)
    for recipe, results in zip(chosen, finished, strict=True):
        dense, best = results.dense, results.chosen
        if dense is None or best is None:
            continue
        table.add_row(
            recipe.name,
            results.metric,
            f"{dense.metrics[results.metric].value:.3f}",
            f"{best.metrics[results.metric].value:.3f}",
            f"{dense.latency[0].p50_ms:.2f}",
            f"{best.latency[0].p50_ms:.2f}",
            f"{best.speedup:.1f}x",
            f"{dense.size_bytes / max(1, best.size_bytes):.1f}x less",
            answered.get(recipe.name, ""),
        )
    console.print(table)
    for recipe in chosen:
        console.print(f"report: {_folder(recipe) / 'report.html'}", soft_wrap=True)


def _folder(recipe: Recipe) -> Path:
    return (Path(recipe.output) / recipe.name).resolve()
