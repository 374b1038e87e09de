"""Can people trust the endpoints: do they keep answering, whatever breaks?

    python -m benchmarks.endpoints [--only NAME] [--save]

Each measure is a file in ``benchmarks/measures``.
"""

from __future__ import annotations

from benchmarks.form import main

MEASURES = ("redeploy", "canary", "kills", "proxy", "wake")
NEED_DATA: set[str] = set()

if __name__ == "__main__":
    raise SystemExit(main("endpoints", MEASURES, NEED_DATA))
