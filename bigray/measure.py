"""How fast and how big: sessions raced against each other, folders weighed, the machine described.

Times are wall time of one `Session.run`; on a GPU its own, by CUDA events. Machines are noisy, so models are never timed one after the other: a `race`
calls them in turns, A B C A B C ..., and a speed-up is the median of the ratios within the rounds. What slows the machine
for a while then slows all of them. One bias remains: on an overloaded machine long runs are interrupted more often than
short ones, which flatters the faster model. `Race.cpu_speedup` counts processor time instead, which waiting does not
enter; where the two differ much, believe the smaller.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bigray.engines.base import Session
from bigray.results import Latency

MIN_ROUNDS, MAX_ROUNDS = 8, 2000
CPU_FLAGS = (
    "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp",
    "i8mm", "sve", "bf16",
)  # fmt: skip
"""Instruction sets that decide which precision is fast; x86 names first, then ARM."""
PACKAGES = (
    "bigray", "ray", "torch", "torchvision", "torchaudio", "transformers", "tokenizers", "openvino", "nncf", "onnx",
    "onnxruntime", "torch-pruning", "optuna", "numpy", "pydantic",
)  # fmt: skip
"""Distributions that can change a result."""


@dataclass(frozen=True)
class Race:
    """Times of several models, taken in turns on the same inputs."""

    batch_size: int
    threads: int
    times_ms: Mapping[str, np.ndarray]
    """Model -> (rounds,) milliseconds; entry i of every model comes from the same round."""
    cpu_ms: Mapping[str, np.ndarray]
    """The same in processor time, summed over this process's threads; of a GPU its time again."""

    @cached_property
    def latency(self) -> dict[str, Latency]:
        """Model -> summary."""
        return {name: self._summary(times) for name, times in self.times_ms.items()}

    def speedup(self, base: str, other: str) -> float:
        """Return how many times faster ``other`` is than ``base``: the median of the rounds' ratios."""
        return float(np.median(self.times_ms[base] / self.times_ms[other]))

    def cpu_speedup(self, base: str, other: str) -> float:
        """Return the same in processor time: how many times less work ``other`` is."""
        return float(np.median(self.cpu_ms[base] / np.maximum(self.cpu_ms[other], 1e-6)))

    def believed(self, base: str, other: str) -> float:
        """Return the smaller of both: a loaded machine interrupts long runs more often, which flatters the faster model."""
        return min(self.speedup(base, other), self.cpu_speedup(base, other))

    def speedup_range(self, base: str, other: str) -> tuple[float, float]:
        """Return the quartiles of the rounds' ratios: how far single rounds scatter around `speedup`."""
        low, high = np.percentile(self.times_ms[base] / self.times_ms[other], [25, 75])
        return float(low), float(high)

    def _summary(self, times: np.ndarray) -> Latency:
        q25, p50, q75, p95 = np.percentile(times, [25, 50, 75, 95])
        return Latency(
            batch_size=self.batch_size,
            threads=self.threads,
            p50_ms=float(p50),
            p95_ms=float(p95),
            items_per_s=1000.0 * self.batch_size / float(p50),
            spread=float((q75 - q25) / p50),
            runs=len(times),
        )


def race(
    sessions: Mapping[str, Session],
    inputs: Mapping[str, np.ndarray],
    *,
    own: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    seconds: float = 2.0,
    warmup: int = 3,
    threads: int = 1,
) -> Race:
    """Time every session on the same inputs, interleaved.

    Args:
        sessions: Name -> session.
        inputs: Arrays of one batch; its first axis is the batch size.
        own: Name of a session -> the same rows as it takes them, where that is another way.
        seconds: Time for all rounds together; at least `MIN_ROUNDS` are run whatever they take.
        warmup: Runs of each session before the clock counts (memory, caches, kernels made for these shapes).
        threads: Threads that the sessions were loaded with; recorded only.
    """
    batch_size = len(next(iter(inputs.values())))
    given = {name: (own or {}).get(name, inputs) for name in sessions}
    times: dict[str, list[float]] = {name: [] for name in sessions}
    cpu: dict[str, list[float]] = {name: [] for name in sessions}
    for name, session in sessions.items():
        for _ in range(warmup):
            session.run(given[name])
    order = list(sessions)
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < MIN_ROUNDS or (time.perf_counter() < end and rounds < MAX_ROUNDS):
        # every other round backwards: none always runs on the caches that the same neighbour left
        for name in order if rounds % 2 == 0 else reversed(order):
            clock = sessions[name].stopwatch()
            worked, begun = time.process_time_ns(), time.perf_counter_ns()
            with clock or nullcontext():
                sessions[name].run(given[name])
            wall, cpu_ns = time.perf_counter_ns() - begun, time.process_time_ns() - worked
            times[name].append(clock.ms if clock else wall / 1e6)
            cpu[name].append(clock.ms if clock else cpu_ns / 1e6)
        rounds += 1
    return Race(batch_size, threads, _arrays(times), _arrays(cpu))


@contextmanager
def quiet() -> Iterator[None]:
    """Hold this machine's one slot for measuring: processes that measure at the same time would disturb each other.

    Those in `work` finish what they are at and then wait. Locks on files in the folder for temporary files; the system
    frees them when their holder dies.
    """
    with _locked("turn", fcntl.LOCK_EX), _locked("measure", fcntl.LOCK_EX):
        yield


@contextmanager
def work() -> Iterator[None]:
    """Work beside others, but not while one of them measures. For pieces of work that are short, and not within another."""
    with ExitStack() as held:
        with _locked("turn", fcntl.LOCK_EX):  # held by who waits to measure, so that new work does not get in before
            held.enter_context(_locked("measure", fcntl.LOCK_SH))
        yield


@contextmanager
def _locked(name: str, how: int) -> Iterator[None]:
    path = Path(tempfile.gettempdir()) / f"bigray-{name}-{os.getuid()}.lock"
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)


def directory_bytes(path: Path) -> int:
    """Return the size of all files below a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def hardware() -> dict[str, Any]:
    """Describe this machine: what a measured number depends on. Sizes in bytes."""
    text = _read("/proc/cpuinfo")
    flags = _field(text, "flags") or _field(text, "Features")
    try:
        available = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        available = os.cpu_count() or 1
    found: dict[str, Any] = {
        "cpu": _field(text, "model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "cores_available": available,
        "flags": [flag for flag in CPU_FLAGS if flag in flags.split()],
        "memory_bytes": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return found


def versions() -> dict[str, str]:
    """Return the versions of Python and of every installed package that can change a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _arrays(lists: Mapping[str, list[float]]) -> dict[str, np.ndarray]:
    return {name: np.array(values) for name, values in lists.items()}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _field(text: str, name: str) -> str:
    """Return the first value of ``name : value`` in the form of /proc/cpuinfo."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
