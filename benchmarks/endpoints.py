"""Can people trust the endpoints: are they fast, limited, and undisturbed by what callers and operators do?

    python -m benchmarks.endpoints --data DIR [--only NAME] [--save]

DIR holds real data sets (see ``benchmarks/README.md``). Each measure is a file in ``benchmarks/measures``. The peers come
with ``pip install bigray[bench]``.
"""

from __future__ import annotations

from benchmarks.form import main

MEASURES = (
    "throughput",
    "overhead",
    "overload",
    "memory",
    "neighbours",
    "dialects",
    "redeploy",
    "canary",
    "kills",
    "proxy",
    "wake",
)
NEED_DATA = {"throughput", "overhead", "overload", "memory"}

if __name__ == "__main__":
    raise SystemExit(main("endpoints", MEASURES, NEED_DATA))
