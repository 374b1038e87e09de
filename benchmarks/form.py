"""The form of every benchmark: a table for people, then one JSON line last; ``--save`` keeps that line.

The JSON holds ``bars`` (what was to be reached, what was reached), the hardware and the versions.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bigray import measure


@dataclass(frozen=True)
class Bar:
    """One number and the bar it must clear."""

    name: str
    value: float
    bar: float
    met: bool
    unit: str


def at_least(name: str, value: float, bar: float, unit: str) -> Bar:
    """A bar to reach or pass."""
    return Bar(name, float(value), bar, bool(value >= bar), unit)


def at_most(name: str, value: float, bar: float, unit: str) -> Bar:
    """A bar to stay under."""
    return Bar(name, float(value), bar, bool(value <= bar), unit)


TIMES = ("min", "s", "ms")


def finish(
    name: str, bars: Sequence[Bar], *, save: bool, extra: dict[str, Any] | None = None, untimed: bool = False
) -> int:
    """Print the table and the JSON line; return 0 when every bar (``untimed``: that is not a time) was met, else 1."""
    table = Table(title=f"benchmark {name}")
    for heading in ("measure", "value", "bar", "met"):
        table.add_column(heading)
    for bar in bars:
        table.add_row(bar.name, f"{bar.value:.4g} {bar.unit}", f"{bar.bar:g}", "yes" if bar.met else "NO")
    Console(width=120).print(table)
    line = json.dumps(
        {
            "benchmark": name,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "bars": [asdict(bar) for bar in bars],
            "hardware": measure.hardware(),
            "versions": measure.versions(),
            **(extra or {}),
        }
    )
    if save:
        folder = Path(__file__).parent / "results"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}-{datetime.now(UTC):%Y-%m-%d}.json").write_text(line + "\n", encoding="utf-8")
    print(line, flush=True)
    return 0 if all(bar.met or (untimed and bar.unit in TIMES) for bar in bars) else 1


def data_folder(given: str | None) -> Path:
    """Return the folder of real data; exit with a sentence when it is absent."""
    folder = Path(given or os.environ.get("BIGRAY_DATA") or "data")
    if not folder.is_dir():
        raise SystemExit(f"There is no folder of data at {str(folder)!r}. Give it with --data DIR or BIGRAY_DATA.")
    return folder.resolve()


def main(title: str, measures: Sequence[str], need_data: Set[str]) -> int:
    """Run the measures asked for on the command line; print the table and the JSON line."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{title}")
    parser.add_argument("--only", action="append", choices=measures, help="one measure; may be repeated")
    parser.add_argument("--data", help="folder of real data sets; by default BIGRAY_DATA")
    parser.add_argument("--work", help="folder for runs, kept; by default a temporary one")
    parser.add_argument("--save", action="store_true", help="keep the JSON line in benchmarks/results")
    parser.add_argument("--untimed", action="store_true", help="a missed time is shown, but is no failure")
    given = parser.parse_args()
    chosen = given.only or list(measures)
    data = data_folder(given.data) if need_data & set(chosen) else None
    bars: list[Bar] = []
    failures: dict[str, str] = {}
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bigray-bench-") as scratch:
        work = Path(given.work).resolve() if given.work else Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        for name in chosen:
            print(f"--- {name}", file=sys.stderr, flush=True)
            begun = time.monotonic()
            try:
                bars += importlib.import_module(f"benchmarks.measures.{name}").run(data, work)
            except Exception as error:
                traceback.print_exc()
                failures[name] = f"{type(error).__name__}: {error}"
                bars.append(Bar(f"{name} ran to its end", 0.0, 1.0, False, ""))
            seconds[name] = round(time.monotonic() - begun, 1)
    name = "-".join([title, *(given.only or [])])
    return finish(name, bars, save=given.save, extra={"seconds": seconds, "failures": failures}, untimed=given.untimed)
