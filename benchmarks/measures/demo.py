"""Does ``make demo`` from a fresh clone, install included, end well within its time?"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from benchmarks.form import Bar, at_most

ROOT = Path(__file__).parent.parent.parent


def clone(work: Path) -> Path:
    """Clone this repository once and return the folder."""
    folder = work / "clone"
    if not folder.exists():
        subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    return folder


def run(data: Path | None, work: Path) -> list[Bar]:
    begun = time.monotonic()
    done = subprocess.run(["make", "demo"], cwd=clone(work), check=False)
    return [
        at_most("make demo: exit code", done.returncode, 0, ""),
        at_most("make demo, install included", (time.monotonic() - begun) / 60, 12, "min"),
    ]
