"""How far does compression go, within which budget, and how does it compare with single recipes of other tools?

    python -m benchmarks.compression --data DIR [--only NAME] [--work FOLDER] [--save]

DIR holds real data sets (see ``benchmarks/README.md``). Each measure is a file in ``benchmarks/measures``. With
``--work`` a measure that was interrupted goes on where it stopped.
"""

from __future__ import annotations

from benchmarks.form import main

MEASURES = (
    "fashion_mnist",
    "compress_sst2",
    "compress_cifar10",
    "compress_bccd",
    "compress_fsdd",
    "compress_whisper",
    "traps",
    "killed",
    "workers",
    "hypervolume",
    "hypervolume_sst2",
)
NEED_DATA = {
    "compress_sst2",
    "compress_cifar10",
    "compress_bccd",
    "compress_fsdd",
    "compress_whisper",
    "hypervolume_sst2",
}

if __name__ == "__main__":
    raise SystemExit(main("compression", MEASURES, NEED_DATA))
