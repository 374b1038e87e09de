"""Does training end with every epoch present once when the node of a worker is killed?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.form import Bar

ROOT = Path(__file__).parent.parent.parent


def run(data: Path | None, work: Path) -> list[Bar]:
    done = subprocess.run([sys.executable, "-m", "pytest", "tests/train/test_node_loss.py"], cwd=ROOT, check=False)
    return [
        Bar(
            "killed worker node: run completes, epochs all present once",
            float(done.returncode == 0),
            1.0,
            done.returncode == 0,
            "",
        )
    ]
