"""The batcher alone, with a fake model."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from bigray.errors import Overloaded
from bigray.schemas import ClassificationParameters
from bigray.serve.batcher import Batcher, _Item, choose


class Fake:
    """Answers with the row's number and remembers its batches."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[list[int]] = []

    def __call__(self, rows: Any, parameters: Any) -> list[Any]:
        self.batches.append([row["n"] for row in rows])
        time.sleep(self.seconds)
        return [row["n"] for row in rows]


def batcher(fake: Any, **more: Any) -> Batcher:
    settings = {"max_size": 8, "wait_s": 0.05, "max_waiting": 100} | more
    return Batcher(fake, lambda row: row.get("weight", 1), **settings)


def soon() -> float:
    return time.monotonic() + 10


def test_a_lone_input_does_not_wait() -> None:
    fake = Fake()

    async def run() -> float:
        queue = batcher(fake, wait_s=1.0)
        began = time.monotonic()
        assert await queue.submit([{"n": 1}], None, soon()) == [1]
        return time.monotonic() - began

    assert asyncio.run(run()) < 0.5


def test_inputs_that_come_together_share_a_batch() -> None:
    fake = Fake(0.02)

    async def run() -> None:
        queue = batcher(fake)
        answers = await asyncio.gather(*(queue.submit([{"n": n}], None, soon()) for n in range(20)))
        assert answers == [[n] for n in range(20)]

    asyncio.run(run())
    assert len(fake.batches) <= 4
    assert max(map(len, fake.batches)) == 8


def test_a_batch_waits_for_a_request_that_is_being_read() -> None:
    fake = Fake()

    async def run() -> None:
        queue = batcher(fake, wait_s=2.0)

        async def late() -> None:
            with queue.arriving():
                await asyncio.sleep(0.05)
            await queue.submit([{"n": 2}], None, soon())

        task = asyncio.create_task(late())
        await asyncio.sleep(0)
        await queue.submit([{"n": 1}], None, soon())
        await task

    asyncio.run(run())
    assert fake.batches == [[1], [2]] or fake.batches == [[1, 2]]


def test_parameters_are_not_mixed() -> None:
    fake = Fake(0.01)
    one, two = ClassificationParameters(top_k=1), ClassificationParameters(top_k=2)

    async def run() -> None:
        queue = batcher(fake)
        await asyncio.gather(*(queue.submit([{"n": n}], one if n % 2 else two, soon()) for n in range(8)))

    asyncio.run(run())
    assert all(len({n % 2 for n in batch}) == 1 for batch in fake.batches)


def test_weights_of_a_batch_are_alike() -> None:
    loop = asyncio.new_event_loop()
    weights = [100, 5000, 110, 4, 90, 380, 30]
    items = [_Item({"n": n}, None, weight, soon(), loop.create_future()) for n, weight in enumerate(weights)]
    assert [item.weight for item in choose(items, 8)] == [100, 110, 90, 30]
    assert [item.weight for item in choose(items, 2)] == [100, 110]
    loop.close()


def test_full_queue_and_cancelled_work() -> None:
    fake = Fake(0.1)

    async def run() -> None:
        queue = batcher(fake, max_size=1, max_waiting=3)
        running = asyncio.create_task(queue.submit([{"n": 0}], None, soon()))
        while not fake.batches:
            await asyncio.sleep(0.001)
        waiting = [asyncio.create_task(queue.submit([{"n": n}], None, soon())) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await queue.submit([{"n": 4}], None, soon())
        for task in waiting:
            task.cancel()
        await asyncio.sleep(0)
        assert await queue.submit([{"n": 5}], None, soon()) == [5]
        assert await running == [0]

    asyncio.run(run())
    assert fake.batches == [[0], [5]]


def test_what_the_model_raises_reaches_the_callers_and_the_queue_goes_on() -> None:
    def broken(rows: Any, _: Any) -> list[Any]:
        if rows[0]["n"] == 1:
            raise ValueError("no")
        return [row["n"] for row in rows]

    async def run() -> None:
        queue = batcher(broken)
        assert isinstance((await queue.submit([{"n": 1}], None, soon()))[0], ValueError)
        assert await queue.submit([{"n": 2}], None, soon()) == [2]
        assert queue.busy_s == 0.0
        queue.close()

    asyncio.run(run())
