"""The form of every benchmark: a table for people, then one JSON line last; ``--save`` keeps that line.

The JSON holds ``bars`` (what was to be reached, what was reached), the hardware and the versions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
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


def finish(name: str, bars: Sequence[Bar], *, save: bool, extra: dict[str, Any] | None = None) -> int:
    """Print the table and the JSON line; return 0 when every bar was met, else 1."""
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
    return 0 if all(bar.met for bar in bars) else 1


def data_folder(given: str | None) -> Path:
    """Return the folder of real data; exit with a sentence when it is absent."""
    folder = Path(given or os.environ.get("BIGRAY_DATA") or "data")
    if not folder.is_dir():
        raise SystemExit(f"There is no folder of data at {str(folder)!r}. Give it with --data DIR or BIGRAY_DATA.")
    return folder.resolve()
