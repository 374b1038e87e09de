"""Memory of one replica of the compressed text classifier, after it has answered texts of every length."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import load
from benchmarks.form import Bar, at_most
from benchmarks.measures import serving

SERVE_ALONE = "import ray.serve._private.replica, psutil; print(psutil.Process().memory_info().rss)"


def run(data: Path | None, work: Path) -> list[Bar]:
    _, chosen = serving.artifacts(data, work)
    bodies = serving.bodies(data, work)
    with serving.served(chosen) as url:
        for clients in (1, 8, 32):
            load.run(url, bodies, clients=clients, seconds=5)
        process = serving.process_of(url)
    bare = int(subprocess.run([sys.executable, "-c", SERVE_ALONE], check=True, capture_output=True).stdout)
    return [
        at_most(
            f"resident memory of a replica of the compressed text classifier (Ray Serve imported alone {bare / 1e6:.0f})",
            process["rss_bytes"] / 1e6,
            400,
            "MB",
        ),
        at_most("torch imported in it", process["torch_imported"], 0, ""),
    ]
