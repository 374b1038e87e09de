"""The batcher alone, with a fake model."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from bigray.errors import Overloaded
from bigray.schemas import ClassificationParameters
from bigray.serve.batcher import Batcher, Limits, _Item, choose
from bigray.serve.cost import Cost


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


def items(*weights: int) -> list[_Item]:
    loop = asyncio.new_event_loop()
    try:
        return [_Item({"n": n}, None, weight, soon(), loop.create_future()) for n, weight in enumerate(weights)]
    finally:
        loop.close()


def chosen(waiting: list[_Item], max_size: int = 8, cost: Cost | None = None, **limits: Any) -> list[int]:
    return [item.weight for item in choose(waiting, max_size, cost or Cost(), Limits(**limits))]


def learned(once_ms: float, item_ms: float, unit_ms: float) -> Cost:
    """A cost after 64 inferences that took exactly what the three say, but for one that was disturbed."""
    cost = Cost()
    for n in range(64):
        count, heaviest = 1 << n % 5, 20 + 37 * n % 200
        took_ms = once_ms + item_ms * count + unit_ms * count * heaviest
        cost.note([heaviest] * count, took_ms + (500 if n == 7 else 0))
    return cost


def test_before_anything_is_known_weights_are_alike() -> None:
    waiting = items(100, 5000, 110, 4, 90, 380, 30)
    assert chosen(waiting) == [100, 110, 90, 30]
    assert chosen(waiting, 2) == [100, 110]
    assert chosen(waiting[:4], 2) == [100], "what came in the later half overtakes nobody"


def test_the_number_of_items_is_a_power_of_two_or_the_most_there_may_be() -> None:
    for count, wanted in ((1, 1), (2, 2), (3, 2), (5, 4), (6, 6), (9, 6)):
        assert len(chosen(items(*[10] * count), 6)) == wanted, count


def test_what_inferences_took_is_learned() -> None:
    for terms in ((2.0, 0.1, 0.01), (1.0, 3.0, 0.0), (0.5, 0.0, 0.02)):
        cost = learned(*terms)
        for count, heaviest in ((1, 30), (4, 100), (16, 60)):
            truth = terms[0] + terms[1] * count + terms[2] * count * heaviest
            assert cost.of(count, heaviest) == pytest.approx(truth, rel=0.15), terms


def test_padding_may_cost_a_share_of_what_another_inference_would() -> None:
    text = learned(2.0, 0.0, 0.01)  # 50 units of padding cost a quarter of what it takes to begin anew
    assert chosen(items(100, 140, 160, 400), cost=text) == [100, 140]
    assert chosen(items(400, 150, 250, 380), cost=text) == [400, 380]
    assert chosen(items(1000, 1200), cost=text) == [1000, 1200], "what is nearly alike goes together anyway"
    image = learned(1.0, 3.0, 0.0)  # the size of a file says nothing
    assert chosen(items(100, 390, 30, 90), cost=image) == [100, 390], "who came first"


def test_a_batch_keeps_its_limits_of_size_and_time() -> None:
    cost = learned(2.0, 0.0, 0.01)
    waiting = items(*[100] * 8)
    assert cost.of(4, 100) == pytest.approx(6, rel=0.1)
    assert len(chosen(waiting, cost=cost)) == 8
    assert len(chosen(waiting, cost=cost, target_ms=7)) == 4
    assert len(chosen(waiting, cost=cost, target_ms=0.1)) == 1, "one always may"
    assert len(chosen(waiting, cost=cost, max_weight=250)) == 2


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
