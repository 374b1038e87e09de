"""Is each task as good as its data allow, and its compressed model as good as the dense one?

    python -m benchmarks.tasks --data DIR [--only NAME] [--save]

DIR holds real data sets (see ``benchmarks/README.md``). Each measure is a file in ``benchmarks/measures``.
"""

from __future__ import annotations

from benchmarks.form import main

MEASURES = (
    "tour",
    "banking77",
    "squad",
    "multi30k",
    "scitldr",
    "orl",
    "librispeech",
    "librispeech_pretrained",
    "allison",
    "allison_asr",
)
NEED_DATA = set(MEASURES) - {"tour"}

if __name__ == "__main__":
    raise SystemExit(main("tasks", MEASURES, NEED_DATA))
