"""Live numbers: how many requests, how fast, how many failed, in the last minute, over all replicas of a model.

Nothing in Serve asks every replica: a handle picks one. So each replica counts for itself and tells the index, through
a Serve handle, every two seconds while requests come and every ten while none do. The index forgets what it has not
heard of for a while, so a lost replica, or a lost index, mends by itself. Only counts travel, never what was asked.

Times are counted in buckets 10 % wide: those of several replicas can be added, which percentiles cannot.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from bigray.serve.observe import PrometheusMeter

WINDOW_S = 60
BUSY_S, IDLE_S = 2.0, 10.0
"""How often a replica tells its numbers while requests come, and while none do."""
SEND_TIMEOUT_S = 5.0
FORGET_S = 25.0
"""Silence after which a replica is taken for gone."""
_WIDTH = math.log(1.1)
MAX_REPLICAS = 4096


class Window:
    """Counts requests of the last minute, second by second. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: deque[_Second] = deque()

    def add(self, status: int, took_ms: float) -> None:
        """Count one answer."""
        now = int(self._clock())
        with self._lock:
            if not self._seconds or self._seconds[-1].at != now:
                self._forget(now)
                self._seconds.append(_Second(now))
            second = self._seconds[-1]
            second.requests += 1
            second.refused += 400 <= status < 500
            second.failed += status >= 500
            if status < 400:
                second.times[_bucket(took_ms)] += 1

    def told(self) -> dict[str, Any]:
        """Return the window in plain types, small enough to send every other second."""
        with self._lock:
            self._forget(int(self._clock()))
            times: Counter[int] = Counter()
            for second in self._seconds:
                times.update(second.times)
            return {
                "seconds": {second.at: second.requests for second in self._seconds},
                "refused": sum(second.refused for second in self._seconds),
                "failed": sum(second.failed for second in self._seconds),
                "times": dict(times),
            }

    def _forget(self, now: int) -> None:
        while self._seconds and self._seconds[0].at <= now - WINDOW_S:
            self._seconds.popleft()


class _Second:
    __slots__ = ("at", "failed", "refused", "requests", "times")

    def __init__(self, at: int) -> None:
        self.at = at
        self.requests = self.refused = self.failed = 0
        self.times: Counter[int] = Counter()


class WatchedMeter(PrometheusMeter):
    """Counts for Prometheus, and in a window for the console."""

    def __init__(self, model: str, metrics: Any, window: Window) -> None:
        super().__init__(model, metrics)
        self._window = window

    def request(self, dialect: str, status: int, took_ms: float) -> None:
        """Count in both."""
        super().request(dialect, status, took_ms)
        self._window.add(status, took_ms)


class Reporter:
    """Tells the numbers of one replica again and again, on its event loop: Serve's handles want one.

    Args:
        window: What is told.
        send: Called with a name for this replica and the numbers; whatever it raises, the next try comes later.
    """

    def __init__(self, window: Window, send: Callable[[str, dict[str, Any]], Awaitable[None]]) -> None:
        self._window, self._send = window, send
        self._replica = uuid.uuid4().hex[:12]
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, where that has not been done."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        sent_at = -math.inf
        while True:
            told = self._window.told()
            if told["seconds"] or time.monotonic() - sent_at >= IDLE_S:
                try:
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await self._send(self._replica, told)
                    sent_at = time.monotonic()
                except Exception:  # no index, or one that moves; numbers for people are never worth a replica
                    await asyncio.sleep(IDLE_S)
            await asyncio.sleep(BUSY_S)


class Board:
    """What the index has heard lately."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._heard: dict[tuple[str, str], tuple[float, dict[str, Any]]] = {}

    def hear(self, model: str, replica: str, told: dict[str, Any]) -> None:
        """Take the numbers of one replica; they replace its earlier ones."""
        if len(self._heard) < MAX_REPLICAS or (model, replica) in self._heard:
            self._heard[model, replica] = (self._clock(), told)

    def summary(self, models: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return model -> numbers of the last minute; times in milliseconds, None where nothing was answered."""
        now = self._clock()
        self._heard = {key: value for key, value in self._heard.items() if now - value[0] < FORGET_S}
        return {name: self._of([told for (model, _), (_, told) in self._heard.items() if model == name], int(now))
                for name in models}  # fmt: skip

    def _of(self, told: list[dict[str, Any]], now: int) -> dict[str, Any]:
        seconds: Counter[int] = Counter()
        times: Counter[int] = Counter()
        for one in told:
            seconds.update(one["seconds"])
            times.update(one["times"])
        # the present second is not over, and replicas tell of it late
        each = [seconds[at] for at in range(now - WINDOW_S, now)]
        recent = each[-10 - int(BUSY_S) : -int(BUSY_S)]
        return {
            "reporting": len(told),
            "requests": sum(each),
            "rate_per_s": round(sum(recent) / len(recent), 2),
            "p50_ms": _percentile(times, 0.50),
            "p95_ms": _percentile(times, 0.95),
            "refused": sum(one["refused"] for one in told),
            "failed": sum(one["failed"] for one in told),
            "per_second": each,
        }


def _bucket(took_ms: float) -> int:
    return round(math.log(max(took_ms, 0.01)) / _WIDTH)


def _percentile(times: Counter[int], share: float) -> float | None:
    left = share * times.total()
    for bucket in sorted(times):
        left -= times[bucket]
        if left <= 0:
            return float(f"{math.exp(bucket * _WIDTH):.3g}")
    return None
