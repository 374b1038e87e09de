"""Is each malformed request answered as promised while a good one is in flight beside it, which notices nothing?"""

from __future__ import annotations

from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.malformed import outcomes
from tests.serve.cases import CASES


def run(data: Path | None, work: Path) -> list[Bar]:
    # one test sends every case with a good request beside it, and looks at answers, process and memory
    passed, failed = outcomes(["tests/serve/test_http.py", "-k", "neighbours"], work, haproxy=True)
    return [
        at_least(
            "malformed requests answered as promised, each beside a good one", len(CASES) if passed else 0, 76, ""
        ),
        at_most("tests of bad neighbours that failed", failed, 0, ""),
    ]
