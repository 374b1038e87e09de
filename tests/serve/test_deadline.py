"""Time that callers have left, and that work nobody waits for is never begun."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from asking import client
from cases import GOOD_TEXT

from bigray.errors import DeadlineExceeded, InvalidInput, Overloaded
from bigray.serve.batcher import Batcher
from bigray.serve.deadline import RECEIVED_HEADER, TIMEOUT_HEADER, seconds_left
from bigray.serve.replica import Replica


@pytest.mark.parametrize(
    ("headers", "left_s"),
    [
        ({}, 60.0),
        ({TIMEOUT_HEADER: "1500"}, 1.5),
        ({TIMEOUT_HEADER: "999999999"}, 60.0),
        ({RECEIVED_HEADER: "990"}, 50.0),
        ({RECEIVED_HEADER: "999.5", TIMEOUT_HEADER: "2000"}, 1.5),
        ({RECEIVED_HEADER: "1010"}, 60.0),
        ({RECEIVED_HEADER: "1"}, 60.0),
        ({RECEIVED_HEADER: "soon"}, 60.0),
        ({RECEIVED_HEADER: "nan"}, 60.0),
    ],
)
def test_seconds_left(headers: dict[str, str], left_s: float) -> None:
    assert seconds_left(headers, 60.0, 1000.0) == pytest.approx(left_s)


def test_none_left() -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        seconds_left({RECEIVED_HEADER: "990", TIMEOUT_HEADER: "9000"}, 60.0, 1000.0)
    assert caught.value.retry_after_s == 1


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "x", "", "9" * 10, "²"])
def test_callers_limits_that_are_none(given: str) -> None:
    with pytest.raises(InvalidInput):
        seconds_left({TIMEOUT_HEADER: given}, 60.0)


def test_expired_work_never_runs(replicas: dict[str, Replica], monkeypatch: pytest.MonkeyPatch) -> None:
    replica = replicas["texts"]
    ran: list[int] = []
    monkeypatch.setattr(type(replica.predictor), "predict", lambda *given: ran.append(1))

    async def run() -> httpx.Response:
        async with client(replica) as http:
            late = {RECEIVED_HEADER: f"{time.time() - 30:.3f}"}  # the limit of this model is 20 s
            return await http.post("", json=GOOD_TEXT, headers=late)

    response = asyncio.run(run())
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    assert response.headers["retry-after"] == "1"
    assert not ran


def test_the_callers_own_limit_holds(replicas: dict[str, Replica], monkeypatch: pytest.MonkeyPatch) -> None:
    replica = replicas["texts"]
    predict = type(replica.predictor).predict

    def slow(self: Any, rows: Any, parameters: Any = None) -> Any:
        time.sleep(0.5)
        return predict(self, rows, parameters)

    monkeypatch.setattr(type(replica.predictor), "predict", slow)

    async def run() -> httpx.Response:
        async with client(replica) as http:
            return await http.post("", json=GOOD_TEXT, headers={TIMEOUT_HEADER: "50"})

    began = time.monotonic()
    assert asyncio.run(run()).status_code == 504
    assert time.monotonic() - began < 5


def work(seconds_per_row: float) -> tuple[Batcher, list[int]]:
    ran: list[int] = []

    def answer(rows: Any, parameters: Any) -> list[Any]:
        ran.extend(row["n"] for row in rows)
        time.sleep(seconds_per_row * len(rows))
        return [None] * len(rows)

    return Batcher(answer, lambda row: 1, max_size=1, wait_s=0, max_waiting=1000), ran


def test_requests_that_cannot_be_answered_in_time_are_refused_at_once() -> None:
    queue, ran = work(0.05)

    async def run() -> None:
        await queue.submit([{"n": 0}], None, time.monotonic() + 60)
        waiting = [asyncio.ensure_future(queue.submit([{"n": n}], None, time.monotonic() + 60)) for n in range(1, 21)]
        await asyncio.sleep(0.01)
        assert queue.expected_s() > 0.5
        with pytest.raises(Overloaded) as caught:
            await queue.submit([{"n": 99}], None, time.monotonic() + 0.1)
        assert (caught.value.retry_after_s or 0) >= 1
        await asyncio.gather(*waiting)
        assert queue.expected_s() == 0
        await queue.submit([{"n": 21}], None, time.monotonic() + 0.001)  # with nobody before it, it is tried

    asyncio.run(run())
    assert 99 not in ran


def test_abandoned_work_never_runs_and_the_next_is_answered() -> None:
    queue, ran = work(0.02)

    async def run() -> None:
        first = asyncio.ensure_future(queue.submit([{"n": 0}], None, time.monotonic() + 60))
        await asyncio.sleep(0.005)
        gone = [asyncio.ensure_future(queue.submit([{"n": n}], None, time.monotonic() + 60)) for n in range(1, 101)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await first
        await queue.submit([{"n": 200}], None, time.monotonic() + 60)

    asyncio.run(run())
    assert ran[-1] == 200
    assert len(ran) <= 3, "work whose caller has gone was done"
