"""Racing sessions, and describing the machine."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from bigray import measure
from bigray.engines.base import Arrays, Session

INPUTS = {"x": np.zeros((4, 2), np.float32)}


class Clock:
    """Stands in for the module `time`; only sessions make it go on."""

    ns = 0

    def perf_counter(self) -> float:
        return self.ns / 1e9

    def perf_counter_ns(self) -> int:
        return self.ns

    def process_time_ns(self) -> int:
        return self.ns // 2


class Sleeper(Session):
    """Takes a known time, and notes when it was called."""

    def __init__(self, name: str, ms: float, calls: list[str], clock: Clock) -> None:
        self.name, self.ms, self.calls, self.clock = name, ms, calls, clock

    def run(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        self.calls.append(self.name)
        self.clock.ns += int(self.ms * 1e6)
        return {}


def test_sessions_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    clock = Clock()
    monkeypatch.setattr(measure, "time", clock)
    sessions = {"slow": Sleeper("slow", 8, calls, clock), "fast": Sleeper("fast", 2, calls, clock)}
    race = measure.race(sessions, INPUTS, seconds=0.195, warmup=1, threads=3)
    assert calls[:6] == ["slow", "fast", "slow", "fast", "fast", "slow"]
    slow, fast = race.latency["slow"], race.latency["fast"]
    assert slow.runs == fast.runs == 20  # 195 ms at 10 ms a round
    assert (slow.batch_size, slow.threads) == (4, 3)
    assert (slow.p50_ms, slow.p95_ms, slow.spread) == (8, 8, 0)
    assert (slow.items_per_s, fast.items_per_s) == (500, 2000)
    assert race.speedup("slow", "fast") == race.cpu_speedup("slow", "fast") == 4
    assert race.speedup_range("slow", "fast") == (4, 4)
    assert measure.race(sessions, INPUTS, seconds=0).latency["slow"].runs == measure.MIN_ROUNDS


def test_speedup_survives_a_slow_spell_of_the_machine() -> None:
    base = np.array([10.0] * 5 + [100.0] * 6)
    race = measure.Race(1, 1, {"base": base, "other": base / 4}, {"base": base, "other": base / 2})
    assert race.speedup("base", "other") == 4.0
    assert race.cpu_speedup("base", "other") == 2.0


def _hold(path: str) -> None:
    with measure.quiet():
        Path(path).touch()
        time.sleep(0.6)


def test_only_one_process_measures_at_a_time(tmp_path: Path) -> None:
    started = tmp_path / "started"
    other = multiprocessing.get_context("fork").Process(target=_hold, args=(str(started),))
    other.start()
    while not started.exists():
        time.sleep(0.01)
    begun = time.monotonic()
    with measure.quiet():
        waited = time.monotonic() - begun
    other.join()
    assert waited > 0.3


def _toil(folder: str) -> None:
    for number in range(100):
        with measure.work():
            Path(folder, str(number)).touch()
            time.sleep(0.02)


def test_others_pause_while_one_measures(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=_toil, args=(str(folder),)) for folder in (tmp_path / "a", tmp_path / "b")]
    for folder, other in zip((tmp_path / "a", tmp_path / "b"), others, strict=True):
        folder.mkdir()
        other.start()
    while min(len(list((tmp_path / name).iterdir())) for name in "ab") < 3:  # both at work at once
        time.sleep(0.01)
    with measure.quiet():
        before = sorted(tmp_path.glob("*/*"))
        time.sleep(0.3)
        assert sorted(tmp_path.glob("*/*")) == before
    for other in others:
        other.join()
    assert len(list(tmp_path.glob("*/*"))) == 200
    assert len(before) < 200


def test_the_machine_and_its_packages_are_described(tmp_path: Path) -> None:
    machine = measure.hardware()
    assert machine["cores"] >= machine["cores_available"] >= 1
    assert machine["memory_bytes"] > 2**28
    assert machine["cpu"]
    versions = measure.versions()
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "numpy", "openvino"} <= set(versions)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"12345")
    assert measure.directory_bytes(tmp_path) == 5


def test_importing_it_is_light() -> None:
    code = "import sys, bigray.measure as m; m.hardware(); m.versions(); assert not {'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
