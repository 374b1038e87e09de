"""Does ``make test`` from a clone pass within its time?"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from benchmarks.form import Bar, at_most
from benchmarks.measures.demo import clone


def run(data: Path | None, work: Path) -> list[Bar]:
    begun = time.monotonic()
    done = subprocess.run(["make", "test"], cwd=clone(work), check=False)
    return [
        at_most("make test: exit code", done.returncode, 0, ""),
        at_most("make test", (time.monotonic() - begun) / 60, 15, "min"),
    ]
