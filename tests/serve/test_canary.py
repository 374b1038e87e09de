"""A replica's part in a canary: who answers, what is compared, and that a bad canary takes no answer from anybody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from bigray.errors import InvalidInput, Overloaded
from bigray.serve.canary import MOST_COPIES, Plan, Split, Window

ROWS = [{"text": "a"}, {"text": "b"}]
PLAN = Plan("_canary-texts", "text_classification", "v2", live=0.3, copied=0.2, patience_s=0.2)
LIVE, COPIED, PRESENT = 0.1, 0.4, 0.9


class Present:
    def __init__(self, answers: Any = ("own", "own")) -> None:
        self.answers = answers
        self.asked = 0

    async def submit(self, rows: Any, parameters: Any, deadline: float) -> list[Any]:
        self.asked += 1
        if isinstance(self.answers, Exception):
            raise self.answers
        return list(self.answers)


def asks(answer: Any, after_s: float = 0.0) -> Callable[..., Any]:
    async def ask(rows: Any, parameters: Any, left_s: float) -> tuple[list[Any], float]:
        await asyncio.sleep(after_s)
        if isinstance(answer, Exception):
            raise answer
        return list(answer), 7.0

    return ask


def run(draws: list[float], ask: Any, present: Present | None = None, plan: Plan | None = PLAN) -> tuple[Any, Window]:
    """Answer as many requests as there are draws; return the answers and what was seen."""

    async def answer() -> tuple[Any, Window]:
        split = Split((present or Present()).submit, lambda one, other: one == other, chance=lambda: draws.pop(0))
        split.follow(plan, ask)
        answers = [await split.answer(ROWS, None, time.monotonic() + 5) for _ in range(len(draws))]
        await asyncio.sleep(0.3)  # copies come to an end
        return answers, split.report()

    return asyncio.run(answer())


def test_without_a_plan_nothing_is_counted() -> None:
    answers, seen = run([LIVE, COPIED], asks(["new", "new"]), plan=None)
    assert answers == [["own", "own"]] * 2
    assert seen == Window()


def test_each_kind_of_request() -> None:
    answers, seen = run([LIVE, COPIED, PRESENT], asks(["new", "own"]))
    assert answers == [["new", "own"], ["own", "own"], ["own", "own"]]
    assert (seen.version, seen.answered, seen.compared, seen.agreed) == ("v2", 1, 2, 1)
    assert (seen.present.requests, seen.present.errors) == (2, 0)
    assert (seen.canary.requests, seen.canary.errors, seen.canary.times_ms) == (2, 0, [7.0, 7.0])


@pytest.mark.parametrize(
    "canary", [asks(RuntimeError("lost")), asks(["new", "new"], after_s=9), asks(["new", KeyError("a bug")])]
)
def test_a_canary_that_fails_is_late_or_lost_takes_no_answer(canary: Any) -> None:
    began = time.monotonic()
    answers, seen = run([LIVE, COPIED], canary)
    assert time.monotonic() - began < 2
    assert answers == [["own", "own"]] * 2
    assert (seen.canary.requests, seen.canary.errors, seen.answered, seen.compared) == (2, 2, 0, 0)


def test_refusals_are_the_callers_fault_only_when_both_refuse() -> None:
    refused = [InvalidInput("empty", code="empty_text"), "own"]
    answers, seen = run([LIVE], asks(refused))
    assert answers == [["own", "own"]]
    assert (seen.canary.errors, seen.compared, seen.agreed) == (0, 2, 1)
    answers, seen = run([LIVE], asks(refused), Present([InvalidInput("empty", code="empty_text"), "own"]))
    assert isinstance(answers[0][0], InvalidInput)
    assert (seen.compared, seen.agreed, seen.present.errors) == (2, 2, 0)


def test_errors_of_the_present_version_are_counted_and_raised() -> None:
    async def answer() -> Window:
        split = Split(Present(Overloaded("full")).submit, lambda one, other: True, chance=lambda: PRESENT)
        split.follow(PLAN, asks(["new", "new"]))
        with pytest.raises(Overloaded):
            await split.answer(ROWS, None, time.monotonic() + 5)
        return split.report()

    seen = asyncio.run(answer())
    assert (seen.present.requests, seen.present.errors) == (1, 1)


def test_a_hurried_caller_is_no_evidence() -> None:
    async def answer() -> Window:
        split = Split(Present().submit, lambda one, other: True, chance=lambda: LIVE)
        split.follow(PLAN, asks(["new", "new"], after_s=9))
        await split.answer(ROWS, None, time.monotonic() + 0.05)
        return split.report()

    assert asyncio.run(answer()).canary.requests == 0


def test_a_canary_that_hangs_does_not_gather_copies() -> None:
    running = 0

    async def ask(*_: Any) -> Any:
        nonlocal running
        running += 1
        await asyncio.sleep(9)

    async def answer() -> None:
        split = Split(Present().submit, lambda one, other: True, chance=lambda: COPIED)
        split.follow(PLAN, ask)
        await asyncio.gather(*(split.answer(ROWS, None, time.monotonic() + 5) for _ in range(3 * MOST_COPIES)))
        await asyncio.sleep(0)
        assert running == MOST_COPIES

    asyncio.run(answer())


def test_what_belongs_to_an_earlier_canary_is_not_told_of_a_later_one() -> None:
    async def answer() -> Window:
        split = Split(Present().submit, lambda one, other: True, chance=lambda: COPIED)
        split.follow(PLAN, asks(["new", "new"], after_s=0.05))
        await split.answer(ROWS, None, time.monotonic() + 5)
        split.follow(Plan("_canary-texts", "text_classification", "v3", 0.3, 0.2, 0.2), asks(["new", "new"]))
        await asyncio.sleep(0.1)
        return split.report()

    seen = asyncio.run(answer())
    assert (seen.version, seen.canary.requests, seen.compared) == ("v3", 0, 0)
