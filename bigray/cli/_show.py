"""How the command line prints what came out, on stdout. Progress is `bigray.progress`, on stderr."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bigray.inventory import Item
    from bigray.recipe import Recipe
    from bigray.results import Results, Variant


def plan(recipe: Recipe) -> None:
    """Print the whole recipe and, as comments, what is there to carry it out: the output is itself a recipe."""
    from bigray import inventory
    from bigray.recipe import dump

    print(dump(recipe), end="")
    chosen = {method.name: method.knobs for method in recipe.compress.methods}
    for item in inventory.engines():
        if item.name in {*recipe.compress.engines, "torch_eager"}:
            print(f"# engine {item.name}: {item.reason or 'available'}")
    for item in inventory.methods():
        if item.name in chosen:
            print(f"# method {item.name}: {item.reason or 'available'}")
            for note in item.notes:
                print(f"#     {note}")
            for knob, value in chosen[item.name].items():
                print(f"#     {knob}: {value} in this recipe")


def outcome(results: Results) -> None:
    """Print the dense and the chosen model side by side, the verdict and where things lie."""
    rows: list[tuple[str, ...]] = [("", results.metric, "p50 ms", "items/s", "MB", "speed")]
    for name, variant in (("dense", results.dense), ("chosen", results.chosen)):
        if variant is not None:
            rows.append((name, *_numbers(variant, results.metric)))
    if len(rows) > 1:
        table(rows)
    if results.chosen is not None:
        print(f"chosen    {results.chosen.label}")
    if results.verdict is not None:
        print(f"verdict   {results.verdict.reason}")
    if results.recipe:
        folder = Path(results.recipe["output"]) / results.name
        print(f"artifact  {folder / results.artifact}" if results.artifact else "artifact  none")
        print(f"report    {folder / 'report.html'}")


def until_stopped() -> None:
    """Wait for Ctrl-C (or SIGTERM), which raises KeyboardInterrupt."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    while True:
        time.sleep(3600)


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def items(title: str, found: Sequence[Item], *, notes: bool = False) -> None:
    """Print engines or methods, usable or not."""
    print(f"{title}:")
    for item in found:
        print(
            f"  {'ok ' if item.reason is None else '-- '} {item.name}{'' if item.reason is None else ': ' + item.reason}"
        )
        for note in item.notes if notes and item.reason is None else ():
            print(f"        {note}")


def _numbers(variant: Variant, metric: str) -> tuple[str, ...]:
    estimate = variant.metrics.get(metric)
    speed = variant.latency[0] if variant.latency else None
    return (
        f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]" if estimate else "-",
        f"{speed.p50_ms:.3g}" if speed else "-",
        f"{speed.items_per_s:.4g}" if speed else "-",
        f"{variant.size_bytes / 1e6:.3g}",
        f"{variant.speedup:.2f}x",
    )
