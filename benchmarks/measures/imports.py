"""Is ``import bigray`` light, and is the command line quick?"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.form import Bar, at_most

PROBE = "import sys, bigray; print(sum(name in sys.modules for name in ('torch', 'ray')))"


def run(data: Path | None, work: Path) -> list[Bar]:
    heavy = int(subprocess.run([sys.executable, "-c", PROBE], check=True, capture_output=True, text=True).stdout)
    return [
        at_most("import bigray: heavy libraries imported", heavy, 0, ""),
        at_most("import bigray", _seconds([sys.executable, "-c", "import bigray"]), 0.5, "s"),
        at_most("bigray --help", _seconds([sys.executable, "-m", "bigray.cli.main", "--help"]), 0.5, "s"),
    ]


def _seconds(command: list[str]) -> float:
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)
