"""How many replicas a load takes, and what they cost, by simulating a replica with the times that the search measured.

A replica is one server that takes batches: when free, it takes all that waits, up to the largest batch. Its time for a
batch is read from the artifact's measurements (ms at each measured batch size, straight lines between them). Requests
come at random (Poisson) and are shared out at random, which is worse than what Serve's router does. Good for planning,
no promise: measure again where it will run.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from bigray.errors import ArtifactError, UserError

MAX_REPLICAS = 10_000
REQUESTS = 20_000
"""Of one simulation."""
SEARCH_STEPS = 10
"""Halvings of the range in which the highest rate is looked for: to a thousandth of it."""
LEAST_SHARE = 0.01
"""Of that range, so that a p95 hardly above one inference still gives a target above zero."""
MAX_LOAD = 0.7
"""Load on a replica as a share of what it can carry at most, so that bursts do not queue without end."""


@dataclass(frozen=True)
class Plan:
    """What a load takes."""

    replicas: int
    cores: float
    load: float
    """Load as a share of what the replicas can carry at most."""
    p95_ms: float
    """Time in the service for 95 of 100 requests, without network."""
    batch_size: float
    """Mean number of requests in one inference."""
    cost_per_million: float | None
    """Per million requests, in the unit of the price; None without a price."""


def points(latency: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Return (batch size, ms per batch) from an artifact's measurements, sizes rising.

    Raises:
        ArtifactError: None are in it.
    """
    try:
        found = {int(entry["batch_size"]): float(entry["p50_ms"]) for entry in latency.get("model", ())}
    except (KeyError, TypeError, ValueError):
        found = {}
    if not found:
        raise ArtifactError("This artifact holds no measured times; it comes from no search. Give one of `bigray run`.")
    return sorted(found.items())


def plan(
    times: Sequence[tuple[int, float]],
    *,
    requests_per_s: float,
    cpus: float = 1.0,
    max_batch_size: int = 16,
    p95_ms: float | None = None,
    core_hour: float | None = None,
) -> Plan:
    """Return the fewest replicas that carry a load.

    Args:
        times: As `points` returns them.
        requests_per_s: The load, one input per request.
        cpus: Cores of one replica.
        max_batch_size: Inputs that one inference may join.
        p95_ms: Longest time in the service for 95 of 100 requests; None for no such wish.
        core_hour: Price of a core for an hour.

    Raises:
        UserError: ``impossible_load``: no number of replicas is enough, since one inference alone takes too long.
    """
    if not requests_per_s > 0:
        raise UserError("The load must be above 0 requests per second.", code="impossible_load")
    if p95_ms is not None:
        _check_possible(times, p95_ms)
    best, capacity = _most_per_s(times, max_batch_size)
    fewest = max(1, math.ceil(requests_per_s / (capacity * MAX_LOAD)))

    def carried(replicas: int) -> bool:
        return p95_ms is None or simulate(times, requests_per_s / replicas, best).p95_ms <= p95_ms

    most = fewest
    while most <= MAX_REPLICAS and not carried(most):
        most *= 2
    if most > MAX_REPLICAS:
        raise UserError(f"Not even {MAX_REPLICAS} replicas carry that load in that time.", code="impossible_load")
    replicas = fewest + bisect.bisect_left(range(fewest, most), True, key=carried)
    seen = simulate(times, requests_per_s / replicas, best)
    cores = replicas * cpus
    cost = None if core_hour is None else cores * core_hour / (requests_per_s * 3600) * 1e6
    return Plan(replicas, cores, requests_per_s / replicas / capacity, seen.p95_ms, seen.batch_size, cost)


def ongoing_within(times: Sequence[tuple[int, float]], p95_ms: float, max_batch_size: int = 16) -> float:
    """Return how many requests are in one replica on average when it carries the most that this p95 allows.

    At most `MAX_LOAD` of what it can carry; the number follows from rate and mean time by Little's law.

    Raises:
        UserError: ``impossible_load``: one inference alone takes longer.
    """
    _check_possible(times, p95_ms)
    best, capacity = _most_per_s(times, max_batch_size)
    fits, above = 0.0, capacity * MAX_LOAD
    seen = simulate(times, above, best)
    if seen.p95_ms <= p95_ms:
        return above * seen.mean_ms / 1000
    for _ in range(SEARCH_STEPS):
        rate = (fits + above) / 2
        if simulate(times, rate, best).p95_ms <= p95_ms:
            fits = rate
        else:
            above = rate
    fits = max(fits, above * LEAST_SHARE)
    return fits * simulate(times, fits, best).mean_ms / 1000


def _check_possible(times: Sequence[tuple[int, float]], p95_ms: float) -> None:
    alone_ms = batch_ms(times, 1)
    if alone_ms > p95_ms:
        raise UserError(
            f"One inference takes {alone_ms:.3g} ms on the machine it was measured on, more than the {p95_ms:g} ms "
            "wished for. More replicas do not help; a faster model or machine would.",
            code="impossible_load",
        )


def _most_per_s(times: Sequence[tuple[int, float]], max_batch_size: int) -> tuple[int, float]:
    """Return the batch size that gets most done, and the requests per second that it gets done."""
    best = max(range(1, max_batch_size + 1), key=lambda size: size / batch_ms(times, size))
    return best, best / batch_ms(times, best) * 1000


@dataclass(frozen=True)
class Queue:
    """What a simulated replica did."""

    mean_ms: float
    """Time in the service."""
    p95_ms: float
    batch_size: float
    """Mean size of a batch."""


def simulate(times: Sequence[tuple[int, float]], requests_per_s: float, max_batch_size: int) -> Queue:
    """Let `REQUESTS` come at random to one replica, always the same ones."""
    rng = random.Random(0)
    came_ms = list(accumulate(rng.expovariate(requests_per_s / 1000) for _ in range(REQUESTS)))
    took_ms: list[float] = []
    free_ms, first, batches = 0.0, 0, 0
    while first < REQUESTS:
        begin_ms = max(free_ms, came_ms[first])
        last = min(first + max_batch_size, bisect.bisect_right(came_ms, begin_ms, first))
        free_ms = begin_ms + batch_ms(times, last - first)
        took_ms += [free_ms - came for came in came_ms[first:last]]
        first, batches = last, batches + 1
    took_ms.sort()
    return Queue(sum(took_ms) / REQUESTS, took_ms[int(0.95 * REQUESTS)], REQUESTS / batches)


def batch_ms(times: Sequence[tuple[int, float]], size: float) -> float:
    """Return the ms that a batch takes; beyond the measured sizes in proportion to the last or first."""
    if size <= times[0][0]:
        return times[0][1] if times[0][0] == 1 else times[0][1] * size / times[0][0]
    for (low, low_ms), (high, high_ms) in pairwise(times):
        if size <= high:
            return low_ms + (high_ms - low_ms) * (size - low) / (high - low)
    return times[-1][1] * size / times[-1][0]
