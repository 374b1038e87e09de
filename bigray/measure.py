"""How fast and how big: interleaved latency of sessions, bytes on disk, and a fingerprint of the machine.

Speed is a ratio measured in one run: sessions take turns (A B A B ...), so what disturbs one disturbs the other, and
the ratio is the median over the rounds. Times are wall-clock milliseconds.
"""

from __future__ import annotations

import fcntl
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bigray.results import Latency

if TYPE_CHECKING:
    from bigray.engines.base import Arrays, Session

MIN_ROUNDS, MAX_ROUNDS = 15, 2000
WARMUP = 3
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm", "sve")
PACKAGES = (
    "bigray", "ray", "torch", "torchvision", "torchaudio", "transformers", "openvino", "nncf", "onnx", "onnxruntime",
    "torch-pruning", "optuna", "numpy",
)  # fmt: skip


@dataclass(frozen=True)
class Race:
    """What interleaved runs of several sessions took."""

    latency: dict[str, Latency]
    rounds: dict[str, list[float]]
    """Session -> milliseconds of each round; the same index is the same round."""

    def speedup(self, base: str, other: str) -> float:
        """Return how many times faster ``other`` is than ``base``: the median of the rounds' ratios."""
        pairs = zip(self.rounds[base], self.rounds[other], strict=True)
        return statistics.median(slow / fast for slow, fast in pairs)


def race(sessions: Mapping[str, Session], inputs: Arrays, *, seconds: float = 2.0, threads: int = 1) -> Race:
    """Run sessions in turns on the same inputs for about ``seconds`` and at least `MIN_ROUNDS` rounds."""
    for session in sessions.values():
        for _ in range(WARMUP):
            session.run(inputs)
    rounds: dict[str, list[float]] = {name: [] for name in sessions}
    end = time.perf_counter() + seconds
    for number in range(MAX_ROUNDS):
        if number >= MIN_ROUNDS and time.perf_counter() > end:
            break
        for name, session in sessions.items():
            begun = time.perf_counter_ns()
            session.run(inputs)
            rounds[name].append((time.perf_counter_ns() - begun) / 1e6)
    size = len(next(iter(inputs.values())))
    return Race({name: _latency(times, size, threads) for name, times in rounds.items()}, rounds)


@contextmanager
def quiet() -> Iterator[None]:
    """Let one process of this machine measure at a time."""
    with open(Path(tempfile.gettempdir()) / f"bigray-measure-{os.getuid()}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def directory_bytes(path: Path) -> int:
    """Return the bytes of all files under a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def hardware() -> dict[str, Any]:
    """Return the fingerprint of this machine."""
    info = _cpu_info()
    found: dict[str, Any] = {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in info.get("flags", "").split()],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "os": f"{platform.system()} {platform.release()}",
        "load_average": round(os.getloadavg()[0], 2),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return found


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _latency(times: list[float], size: int, threads: int) -> Latency:
    low, p50, high, p95 = np.percentile(times, [25, 50, 75, 95])
    return Latency(
        batch_size=size,
        threads=threads,
        p50_ms=float(p50),
        p95_ms=float(p95),
        items_per_s=1000.0 * size / float(p50),
        spread=float((high - low) / p50),
        runs=len(times),
    )


def _cpu_info() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    lines = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in lines}
