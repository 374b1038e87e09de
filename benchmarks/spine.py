"""Does one recipe lead from data to a compressed, served model, as well and as fast as promised?

    python -m benchmarks.spine --data DIR [--only NAME] [--save]

DIR holds real data sets (see ``benchmarks/README.md``). Each measure is a file in ``benchmarks/measures``.
"""

from __future__ import annotations

from benchmarks.form import main

MEASURES = (
    "imports",
    "malformed",
    "agreement",
    "faults",
    "sst2",
    "cifar10",
    "fsdd",
    "speakers",
    "bccd",
    "demo",
    "tests",
)
NEED_DATA = {"agreement", "sst2", "cifar10", "fsdd", "speakers", "bccd"}

if __name__ == "__main__":
    raise SystemExit(main("spine", MEASURES, NEED_DATA))
