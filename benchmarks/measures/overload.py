"""Five times what one replica can answer, for a minute: what is still answered, how the rest is refused, and afterwards."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import psutil

from benchmarks import load
from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures import serving

TIMES, SECONDS = 5, 60
AGAIN = 20
"""Answers in a row, each within twice the p99 of before, that stand for a recovery."""


def run(data: Path | None, work: Path) -> list[Bar]:
    _, chosen = serving.artifacts(data, work)
    bodies = serving.bodies(data, work)
    with serving.served(chosen) as url:
        replica = psutil.Process(serving.process_of(url)["pid"])
        calm = load.run(url, bodies, clients=1, seconds=3)
        load.run(url, bodies, clients=32, seconds=5)
        capacity = serving.median([load.run(url, bodies, clients=32, seconds=8)["per_s"] for _ in range(3)])
        before = replica.memory_info().rss
        watch = _Memory(replica)
        watch.start()
        found = load.run(url, bodies, rate=TIMES * capacity, seconds=SECONDS)
        recovered_s = _recovery(url, 2 * calm["p99_ms"] / 1000)
        watch.stop()
        alive = serving.process_of(url)["pid"] == replica.pid
    odd = {status: count for status, count in found["statuses"].items() if status not in {"200", "429", "503"}}
    return [
        at_least(
            f"5x overload for 60 s: answered per s ({found['per_s']:.0f}) over capacity ({capacity:.0f})",
            found["per_s"] / capacity,
            0.9,
            "",
        ),
        at_most("5x overload: p99 of refusals", found["refused_p99_ms"], 100, "ms"),
        at_most("5x overload: refusals without Retry-After", found["refused_without_retry_after"], 0, ""),
        at_most(f"5x overload: neither answered nor refused {odd or ''}", sum(odd.values()), 0, ""),
        at_most("5x overload: recovered after", recovered_s, 5, "s"),
        at_most("5x overload: memory of the replica grew by", (watch.most - before) / 2**20, 200, "MiB"),
        at_least("5x overload: same process afterwards", alive, 1, ""),
    ]


class _Memory(threading.Thread):
    """Notes the most memory that a process has had."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._ended = threading.Event()
        self.most = 0

    def run(self) -> None:
        while not self._ended.wait(0.5):
            self.most = max(self.most, self._process.memory_info().rss)

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _recovery(url: str, quick_s: float) -> float:
    """Return the seconds until requests are answered as before."""
    began = time.monotonic()
    since, row = began, 0
    with httpx.Client(timeout=30) as client:
        while row < AGAIN and time.monotonic() - began < 60:
            if row == 0:
                since = time.monotonic()
            sent = time.monotonic()
            answer = client.post(url, json={"inputs": "a fine film"})
            row = row + 1 if answer.status_code == 200 and time.monotonic() - sent <= quick_s else 0
    return since - began if row == AGAIN else 60.0
