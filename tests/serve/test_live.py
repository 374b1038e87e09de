"""Numbers of the last minute: counted per replica, added in the index, forgotten in time."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from bigray.serve import live


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_window_counts_and_forgets() -> None:
    clock = Clock()
    window = live.Window(clock)
    for status in (200, 200, 422, 503):
        window.add(status, 10.0)
    told = window.told()
    assert told["seconds"] == {1_000_000: 4}
    assert (told["refused"], told["failed"], sum(told["times"].values())) == (1, 1, 2)
    clock.now += live.WINDOW_S - 1
    window.add(200, 1.0)
    assert sum(window.told()["seconds"].values()) == 5
    clock.now += 1
    assert window.told()["seconds"] == {int(clock.now) - 1: 1}
    clock.now += live.WINDOW_S
    assert window.told() == {"seconds": {}, "refused": 0, "failed": 0, "times": {}}


def test_percentiles_of_several_replicas_together() -> None:
    clock = Clock()
    board = live.Board(clock)
    rng = np.random.default_rng(0)
    parts = [rng.lognormal(1, 0.5, 4000), rng.lognormal(3, 0.4, 1000)]
    for number, part in enumerate(parts):
        window = live.Window(clock)
        for value in part:
            window.add(200, float(value))
        board.hear("texts", f"r{number}", window.told())
    clock.now += 3
    summary = board.summary(["texts", "other"])
    both = np.concatenate(parts)
    assert summary["texts"]["p50_ms"] == pytest.approx(np.percentile(both, 50), rel=0.06)
    assert summary["texts"]["p95_ms"] == pytest.approx(np.percentile(both, 95), rel=0.06)
    assert (summary["texts"]["requests"], summary["texts"]["reporting"]) == (5000, 2)
    assert summary["texts"]["rate_per_s"] == 500
    assert summary["other"]["requests"] == 0


def test_silent_replicas_are_forgotten_and_later_news_replace_earlier() -> None:
    clock = Clock()
    board, window = live.Board(clock), live.Window(clock)
    window.add(500, 1.0)
    for _ in range(3):
        board.hear("texts", "a", window.told())
    clock.now += 3
    assert board.summary(["texts"])["texts"]["failed"] == 1
    clock.now += live.FORGET_S
    assert board.summary(["texts"])["texts"]["reporting"] == 0


def test_a_reporter_goes_on_when_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, dict[str, Any]]] = []

    async def send(replica: str, told: dict[str, Any]) -> None:
        heard.append((replica, told))
        if len(heard) == 1:
            raise RuntimeError("no index")

    monkeypatch.setattr(live, "BUSY_S", 0.01)
    monkeypatch.setattr(live, "IDLE_S", 0.01)
    window = live.Window()
    window.add(200, 3.0)

    async def run() -> None:
        reporter = live.Reporter(window, send)
        reporter.start()
        reporter.start()
        async with asyncio.timeout(10):
            while len(heard) < 4:
                await asyncio.sleep(0.01)

    asyncio.run(run())
    assert len({replica for replica, _ in heard}) == 1
    assert sum(heard[-1][1]["seconds"].values()) == 1


def test_an_idle_replica_tells_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    async def send(replica: str, told: dict[str, Any]) -> None:
        heard.append(replica)

    monkeypatch.setattr(live, "BUSY_S", 0.01)

    async def run() -> None:
        live.Reporter(live.Window(), send).start()
        await asyncio.sleep(0.2)

    asyncio.run(run())
    assert len(heard) == 1
