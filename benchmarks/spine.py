"""Does one recipe lead from data to a compressed, served model, as well and as fast as promised?

    python -m benchmarks.spine --data DIR [--only NAME] [--save]

DIR holds real data sets (see ``benchmarks/README.md``). Each measure is a file in ``benchmarks/measures``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
import traceback
from collections.abc import Collection
from pathlib import Path

from benchmarks.form import Bar, finish

MEASURES = ("imports", "malformed", "agreement", "faults", "sst2", "cifar10", "fsdd", "bccd", "demo", "tests")
NEED_DATA = {"agreement", "sst2", "cifar10", "fsdd", "bccd"}


def main(suite: str = "spine", measures: tuple[str, ...] = MEASURES, need_data: Collection[str] = NEED_DATA) -> int:
    """Run the measures asked for and print the table and the JSON line."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{suite}", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=measures, help="one measure; may be repeated")
    parser.add_argument("--data", help="folder of real data sets; by default BIGRAY_DATA")
    parser.add_argument("--work", help="folder for runs, kept; by default a temporary one")
    parser.add_argument("--save", action="store_true", help="keep the JSON line in benchmarks/results")
    given = parser.parse_args()
    from benchmarks.form import data_folder

    chosen = given.only or list(measures)
    data = data_folder(given.data) if set(need_data) & set(chosen) else None
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
    title = suite if not given.only else f"{suite}-" + "-".join(given.only)
    return finish(title, bars, save=given.save, extra={"seconds": seconds, "failures": failures})


if __name__ == "__main__":
    raise SystemExit(main())
