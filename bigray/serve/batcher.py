"""Joins inputs of several requests into one inference, without letting one caller harm another.

::

    submit ──> waiting ──choose──> one thread: answer ──> futures
               │  │                             │
               │  └ given up or expired: dropped└ a batch that fails is taken apart; only the bad input fails
               └ full: Overloaded

A request that could not be answered before its deadline, going by how long rows took lately, is refused at once instead
of waiting for nothing. When nothing else is on its way an input runs at once; otherwise it waits up to ``wait_s`` for company. Inputs of about
the same weight share a batch, since the heaviest decides how long all take; how alike they have to be follows from what
inferences took, see `bigray.serve.cost`. No Ray, no web framework.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bigray.errors import Overloaded
from bigray.schemas import Wire
from bigray.serve.cost import Cost
from bigray.serve.observe import Meter, NoMeter

Answers = list[Any]
"""One answer per row; an exception stands for a row that failed."""
Answer = Callable[[Sequence[dict[str, Any]], Wire | None], Answers]


@dataclass(frozen=True)
class Limits:
    """What one inference may be, besides its number of items; a single item always may."""

    max_weight: int = 16 * 2**20
    """Items times the weight of the heaviest."""
    target_ms: float = math.inf
    """Time that it is likely to take."""


@dataclass(eq=False)
class _Item:
    row: dict[str, Any]
    parameters: Wire | None
    weight: int
    deadline: float
    """On the clock of `time.monotonic`."""
    future: asyncio.Future[Any] = field(repr=False)
    since: float = field(default_factory=time.monotonic)

    @property
    def dead(self) -> bool:
        return self.future.done() or time.monotonic() >= self.deadline


class Batcher:
    """One queue and one worker thread. Belongs to the event loop of the first `submit`.

    Args:
        answer: Answers rows that share parameters; called in the worker thread, must not raise.
        weigh: Weight of a row, in any unit.
        max_size: Rows in one batch.
        wait_s: Longest wait for company.
        limits: What a batch may be besides.
        max_waiting: Rows in the queue; a request that would pass it is refused, unless the queue is empty.
        meter: Told of each inference.
    """

    def __init__(
        self,
        answer: Answer,
        weigh: Callable[[dict[str, Any]], int],
        *,
        max_size: int,
        wait_s: float,
        max_waiting: int,
        limits: Limits | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._answer = answer
        self._weigh = weigh
        self._max_size = max_size
        self._wait_s = wait_s
        self._max_waiting = max_waiting
        self._meter = meter or NoMeter()
        self._limits = limits or Limits()
        self._cost = Cost()
        self._waiting: list[_Item] = []
        self._arriving = 0
        self._changed = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._busy_since: float | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Announce a request that is still being read, so that a batch may wait for it."""
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1
            self._changed.set()

    @property
    def busy_s(self) -> float:
        """Seconds since the present inference began; 0 when there is none."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    async def submit(self, rows: Sequence[dict[str, Any]], parameters: Wire | None, deadline: float) -> Answers:
        """Wait for the answers, one per row. Cancelling it takes the rows that have not begun out of the queue.

        Raises:
            Overloaded: The queue is full, or too long for an answer before the deadline.
        """
        self._start()
        if self._waiting and len(self._waiting) + len(rows) > self._max_waiting:
            self._waiting = [item for item in self._waiting if not item.dead]
            if self._waiting and len(self._waiting) + len(rows) > self._max_waiting:
                raise Overloaded(f"{len(self._waiting)} inputs are waiting already. Try again later.", retry_after_s=1)
        behind_s = self.expected_s(len(rows))
        if self._waiting and time.monotonic() + behind_s > deadline:
            raise Overloaded(
                f"An answer would take about {behind_s:.1f} s, longer than this request may wait. Try again later.",
                retry_after_s=math.ceil(behind_s),
            )
        loop = asyncio.get_running_loop()
        items = [_Item(row, parameters, self._weigh(row), deadline, loop.create_future()) for row in rows]
        self._waiting += items
        self._changed.set()
        return list(await asyncio.gather(*(item.future for item in items)))

    def expected_s(self, more: int = 0) -> float:
        """Return about how long it takes until ``more`` rows that come now are answered."""
        living = sum(not item.dead for item in self._waiting)
        return (living + more) * self._cost.row_ms / 1000

    def close(self) -> None:
        """Stop the worker; rows still waiting are given up."""
        if self._worker is not None:
            self._worker.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        if self._worker is None or self._worker.done():
            self._changed = asyncio.Event()
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            self._waiting = [item for item in self._waiting if not item.dead]
            if not self._waiting:
                await self._changed.wait()
                continue
            await self._company()
            batch = choose(self._waiting, self._max_size, self._cost, self._limits)
            chosen = set(map(id, batch))
            self._waiting = [item for item in self._waiting if id(item) not in chosen]
            batch = [item for item in batch if not item.dead]
            if not batch:
                continue
            self._busy_since = began = time.monotonic()
            try:
                rows = [item.row for item in batch]
                answers = await loop.run_in_executor(self._thread, self._answer, rows, batch[0].parameters)
            except Exception as error:
                answers = [error] * len(batch)
            finally:
                self._busy_since = None
            self._note(batch, began)
            for item, answer in zip(batch, answers, strict=True):
                if not item.future.done():
                    item.future.set_result(answer)

    def _note(self, batch: list[_Item], began: float) -> None:
        took_s = time.monotonic() - began
        self._cost.note([max(1, item.weight) for item in batch], took_s * 1000)
        waited_s = began - min(item.since for item in batch)
        self._meter.batch(len(batch), sum(item.weight for item in batch), waited_s * 1000, took_s * 1000)

    async def _company(self) -> None:
        """Return when the batch is full, nobody else is on the way, or ``wait_s`` has passed."""
        until = time.monotonic() + self._wait_s
        while self._arriving and len(self._waiting) < self._max_size and (left := until - time.monotonic()) > 0:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return


def choose(waiting: Sequence[_Item], max_size: int, cost: Cost, limits: Limits) -> list[_Item]:
    """Pick the oldest item and those that fit it, older ones first: same parameters, of weights that make it worth it.

    It looks at the older half of what waits with the same parameters, at least ``max_size`` of them: of more it would pad
    less, but those that do not fit would be overtaken more often, and the slowest answers come later. The number of items
    is a power of two: engines prepare something for each shape that they meet, and keep it.
    """
    first = waiting[0]
    fitting = [item for item in waiting if item.parameters == first.parameters]
    batch: list[_Item] = []
    low = high = max(1, first.weight)
    for item in fitting[: max(max_size, min(len(fitting) // 2, 4 * max_size))]:
        weight = max(1, item.weight)
        count, heaviest = len(batch) + 1, max(high, weight)
        if batch and (
            not cost.worth_it(len(batch), low, high, weight)
            or count * heaviest > limits.max_weight
            or cost.of(count, heaviest) > limits.target_ms
        ):
            continue
        low, high = min(low, weight), heaviest
        batch.append(item)
        if len(batch) == max_size:
            break
    return batch if len(batch) == max_size else batch[: 1 << (len(batch).bit_length() - 1)]
