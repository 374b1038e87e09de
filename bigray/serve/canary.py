"""A replica's part in a canary: which requests go to the new version, and what was seen of both. No Ray here.

::

    request ──> present version answers                                    most of them
            ├─> both answer, the caller gets the present version's answer  the answers are compared
            └─> the canary answers; where it fails or is late, the present version does

So a canary that fails or is lost costs a caller time, and never an answer. Time is taken around queue and inference on
the replica that did the work: the way from one replica to the other is no fault of a version.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bigray.errors import BigrayError
from bigray.schemas import Wire
from bigray.serve.batcher import Answers
from bigray.serve.observe import Meter, NoMeter

MOST_TIMES = 500
"""Times kept per window and version; further ones are counted and not kept."""
MOST_COPIES = 32
"""Copies on their way to a canary at once; with more, requests are not copied."""
MOST_ROWS = 16
"""Answers compared of one request, so that one caller does not decide alone."""

Rows = Sequence[dict[str, Any]]
Submit = Callable[[Rows, Wire | None, float], Awaitable[Answers]]
"""(rows, parameters, deadline on the clock of `time.monotonic`) -> answers."""
Ask = Callable[[Rows, Wire | None, float], Awaitable[tuple[Answers, float]]]
"""(rows, parameters, seconds left) -> the canary's answers and the ms that they took there."""


@dataclass(frozen=True)
class Plan:
    """What replicas of the present version are told to do."""

    application: str
    """Serve application of the canary."""
    deployment: str
    version: str
    live: float
    """Share of requests that the canary answers."""
    copied: float
    """Share of requests that both answer."""
    patience_s: float
    """Longest wait for the canary before the present version answers."""


@dataclass
class Tally:
    """What one version did."""

    requests: int = 0
    errors: int = 0
    times_ms: list[float] = field(default_factory=list)

    def add(self, took_ms: float | None) -> None:
        """Count one request; None is an error."""
        self.requests += 1
        if took_ms is None:
            self.errors += 1
        elif len(self.times_ms) < MOST_TIMES:
            self.times_ms.append(took_ms)


@dataclass
class Window:
    """What was seen since the last report."""

    version: str | None = None
    """Of the canary."""
    present: Tally = field(default_factory=Tally)
    canary: Tally = field(default_factory=Tally)
    compared: int = 0
    agreed: int = 0
    answered: int = 0
    """Requests whose caller got the canary's answer."""


class Split:
    """Stands before a replica's queue.

    Args:
        submit: The replica's own queue.
        agrees: (own answer, other answer) -> whether they say the same.
        meter: Told of what canaries do.
        chance: Random numbers from 0 to 1.
    """

    def __init__(
        self,
        submit: Submit,
        agrees: Callable[[Any, Any], bool],
        meter: Meter | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._submit = submit
        self._agrees = agrees
        self._meter = meter or NoMeter()
        self._chance = chance
        self._plan: Plan | None = None
        self._ask: Ask | None = None
        self._window = Window()
        self._copies: set[asyncio.Task[Answers | None]] = set()

    @property
    def plan(self) -> Plan | None:
        """What is being done."""
        return self._plan

    def follow(self, plan: Plan | None, ask: Ask | None = None) -> None:
        """Do as told from now on; None sends nothing to any canary."""
        if (plan.version if plan else None) != self._window.version:
            self._window = Window(plan.version if plan else None)
        self._plan, self._ask = plan, ask

    def report(self) -> Window:
        """Return what was seen since the last call."""
        seen, self._window = self._window, Window(self._window.version)
        return seen

    async def answer(self, rows: Rows, parameters: Wire | None, deadline: float) -> Answers:
        """Answer a request, from whichever version its turn is. Raises as `Batcher.submit`."""
        plan, ask = self._plan, self._ask
        if plan is None or ask is None:
            return await self._submit(rows, parameters, deadline)
        drawn = self._chance()
        if drawn < plan.live:
            found = await self._by_canary(ask, plan, rows, parameters, deadline)
            if found is not None and not any(isinstance(answer, Exception) for answer in found):
                self._window.answered += 1
                self._meter.canary("answered")
                return found
            own = await self._by_present(rows, parameters, deadline)
            if found is not None:  # it refuses an input; whether that is the input's fault, the present version knows
                self._compare(plan, own, found)
            return own
        if drawn < plan.live + plan.copied and len(self._copies) < MOST_COPIES:
            other = asyncio.create_task(self._by_canary(ask, plan, rows, parameters, deadline))
            self._copies.add(other)
            other.add_done_callback(self._copies.discard)
            own = await self._by_present(rows, parameters, deadline)
            other.add_done_callback(lambda done: self._compare_later(plan, own, done))
            return own
        return await self._by_present(rows, parameters, deadline)

    async def _by_present(self, rows: Rows, parameters: Wire | None, deadline: float) -> Answers:
        began = time.monotonic()
        try:
            answers = await self._submit(rows, parameters, deadline)
        except Exception:
            self._window.present.add(None)
            raise
        # the window of now: a slow request may have begun in one that is reported already
        self._window.present.add(None if _failed(answers) else (time.monotonic() - began) * 1000)
        return answers

    async def _by_canary(
        self, ask: Ask, plan: Plan, rows: Rows, parameters: Wire | None, deadline: float
    ) -> Answers | None:
        """Return the canary's answers, None when it failed or was late."""
        left_s = deadline - time.monotonic()
        try:
            async with asyncio.timeout(min(plan.patience_s, left_s)):
                answers, took_ms = await ask(rows, parameters, left_s)
        except Exception as error:
            if isinstance(error, TimeoutError) and left_s < plan.patience_s:
                return None  # the caller was in a hurry; that says nothing about the canary
            self._saw(plan, None)
            return None
        self._saw(plan, None if _failed(answers) else took_ms)
        return None if _failed(answers) else answers

    def _saw(self, plan: Plan, took_ms: float | None) -> None:
        if plan.version == self._window.version:
            self._window.canary.add(took_ms)
        if took_ms is None:
            self._meter.canary("failed")

    def _compare_later(self, plan: Plan, own: Answers, done: asyncio.Task[Answers | None]) -> None:
        found = None if done.cancelled() else done.result()
        if found is not None and not _failed(own):
            self._compare(plan, own, found)

    def _compare(self, plan: Plan, own: Answers, found: Answers) -> None:
        if plan.version != self._window.version:
            return
        for mine, theirs in list(zip(own, found, strict=False))[:MOST_ROWS]:
            same = _same_refusal(mine, theirs) or (
                not isinstance(mine, Exception) and not isinstance(theirs, Exception) and self._agrees(mine, theirs)
            )
            self._window.compared += 1
            self._window.agreed += same
            self._meter.canary("same" if same else "different")


def _failed(answers: Answers) -> bool:
    """Say whether an answer is missing through the service's fault; a refused input is the caller's."""
    return any(
        isinstance(answer, Exception) and not (isinstance(answer, BigrayError) and answer.status < 500)
        for answer in answers
    )


def _same_refusal(one: Any, other: Any) -> bool:
    return isinstance(one, BigrayError) and isinstance(other, BigrayError) and one.code == other.code
