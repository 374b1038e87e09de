"""Whether a new version of a model may take over: pure functions from what was seen to a decision with its reason.

A canary gets a share of the requests; some of them are also answered by the present version, and the answers compared.
Promote needs evidence, roll back needs evidence of harm, and without either the share is held::

    errors     one-sided Fisher test against the present version
    p95        lower end of a distribution-free interval of the canary's, against a multiple of the present one's
    agreement  upper end of the Wilson interval below the floor rolls back, lower end above it promotes

Chances are those of one look. A decision is taken at every look, so `ALPHA` is shared out over `LOOKS` (Bonferroni): a
canary that is as good as the present version is rolled back in at most 5 of 100 rollouts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

ALPHA, LOOKS = 0.05, 20
"""Chance of rolling back a good canary in a whole rollout, and the looks it is shared out over."""


class Verdict(Enum):
    """What to do with a canary."""

    PROMOTE = "promote"
    HOLD = "hold"
    ROLL_BACK = "roll back"


@dataclass(frozen=True)
class Seen:
    """What a version was seen to do."""

    requests: int = 0
    errors: int = 0
    """Answers that were the service's fault (5xx); refusals of bad requests say nothing about a version."""
    latencies_ms: Sequence[float] = field(default=(), repr=False)
    """Of good answers, in any order; a sample is enough."""


@dataclass(frozen=True)
class Compared:
    """Requests that both versions answered."""

    pairs: int = 0
    agreed: int = 0


@dataclass(frozen=True)
class Policy:
    """What a canary must show."""

    min_requests: int = 200
    """Before it may take over."""
    min_pairs: int = 150
    """Compared answers, before it may take over; of so few, one that agrees in 88 of 100 passes once in 300 times."""
    slowdown: float = 1.5
    """Its p95 may be this many times the present version's."""
    agreement: float = 0.95
    """Share of answers that should be those of the present version."""
    quick_errors: int = 5
    """Fewer errors than this prove nothing; this many and no good answer roll back without statistics."""


@dataclass(frozen=True)
class Decision:
    """What to do, and why, in a sentence for people."""

    verdict: Verdict
    reason: str


def decide(present: Seen, canary: Seen, compared: Compared, policy: Policy = Policy()) -> Decision:
    """Return what to do now. Harm is looked for first; what is not known yet holds."""
    for found in (
        _errors(present, canary, policy),
        _slowness(present, canary, policy),
        _disagreement(compared, policy),
    ):
        if found is not None:
            return Decision(Verdict.ROLL_BACK, found)
    missing = []
    if canary.requests < policy.min_requests:
        missing.append(f"{canary.requests} of {policy.min_requests} requests seen")
    if compared.pairs < policy.min_pairs:
        missing.append(f"{compared.pairs} of {policy.min_pairs} answers compared")
    if canary.requests and not missing and _rate(canary) > _rate(present) + 1 / policy.min_requests:
        missing.append(f"{canary.errors} errors in {canary.requests} requests, more than before but not surely")
    if not missing and _p95(canary) > policy.slowdown * _p95(present):
        missing.append(f"p95 of {_p95(canary):.3g} ms against {_p95(present):.3g} ms, slower but not surely")
    low, _ = wilson(compared.agreed, compared.pairs)
    if not missing and compared.agreed < policy.agreement * compared.pairs:
        missing.append(f"{_percent(compared)} of answers agree, {policy.agreement:.1%} wanted, low but not surely")
    if missing:
        return Decision(Verdict.HOLD, "; ".join(missing))
    return Decision(
        Verdict.PROMOTE,
        f"{canary.errors} errors in {canary.requests} requests, p95 {_p95(canary):.3g} ms against "
        f"{_p95(present):.3g} ms, {_percent(compared)} of {compared.pairs} answers agree (at least {low:.1%})",
    )


def wilson(good: int, total: int, alpha: float = ALPHA / LOOKS) -> tuple[float, float]:
    """Return the one-sided lower and upper ends of a share, each wrong with chance ``alpha``; (0, 1) without data.

    Source: Wilson, 1927, as in https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval.
    """
    if total == 0:
        return 0.0, 1.0
    z = _normal_quantile(1 - alpha)
    share = good / total
    centre = share + z * z / (2 * total)
    width = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - width) / scale), min(1.0, (centre + width) / scale)


def fisher(errors: int, requests: int, other_errors: int, other_requests: int) -> float:
    """Return the chance of at least ``errors`` among ``requests`` if both versions err alike (one-sided Fisher)."""
    total, bad = requests + other_requests, errors + other_errors
    most = min(bad, requests)
    logs = [_log_choose(bad, k) + _log_choose(total - bad, requests - k) for k in range(errors, most + 1)]
    whole = _log_choose(total, requests)
    return min(1.0, sum(math.exp(value - whole) for value in logs))


def quantile_interval(values: Sequence[float], q: float, alpha: float = ALPHA / LOOKS) -> tuple[float, float]:
    """Return the one-sided lower and upper ends of the ``q`` quantile, without assuming any distribution.

    Order statistics and the normal approximation of the binomial; (0, inf) where there are too few values.
    """
    ordered = sorted(values)
    count = len(ordered)
    spread = _normal_quantile(1 - alpha) * math.sqrt(count * q * (1 - q))
    low, high = math.floor(count * q - spread), math.ceil(count * q + spread)
    return ordered[low - 1] if low >= 1 else 0.0, ordered[high - 1] if 1 <= high <= count else math.inf


def _errors(present: Seen, canary: Seen, policy: Policy) -> str | None:
    if canary.errors >= policy.quick_errors and canary.errors == canary.requests:
        return f"all of its first {canary.errors} requests failed"
    chance = fisher(canary.errors, canary.requests, present.errors, present.requests) if canary.errors else 1.0
    if canary.errors < policy.quick_errors or chance >= ALPHA / LOOKS or _rate(canary) <= _rate(present):
        return None
    return (
        f"{canary.errors} of {canary.requests} requests failed, against {present.errors} of {present.requests} with the "
        f"present version (chance of that if they were alike: {chance:.1e})"
    )


def _slowness(present: Seen, canary: Seen, policy: Policy) -> str | None:
    if not present.latencies_ms:
        return None
    low, _ = quantile_interval(canary.latencies_ms, 0.95)
    limit_ms = policy.slowdown * quantile_interval(present.latencies_ms, 0.95)[1]
    if low <= limit_ms:
        return None
    return (
        f"its p95 is {_p95(canary):.3g} ms, against {_p95(present):.3g} ms of the present version, "
        f"and {policy.slowdown:g} times that was allowed"
    )


def _disagreement(compared: Compared, policy: Policy) -> str | None:
    _, high = wilson(compared.agreed, compared.pairs)
    if high >= policy.agreement:
        return None
    return (
        f"only {_percent(compared)} of {compared.pairs} answers are those of the present version, at most {high:.1%}, "
        f"and {policy.agreement:.1%} was wanted"
    )


def _rate(seen: Seen) -> float:
    return seen.errors / seen.requests if seen.requests else 0.0


def _p95(seen: Seen) -> float:
    ordered = sorted(seen.latencies_ms)
    return ordered[math.ceil(0.95 * len(ordered)) - 1] if ordered else 0.0


def _percent(compared: Compared) -> str:
    return f"{compared.agreed / compared.pairs:.1%}" if compared.pairs else "none"


def _log_choose(n: int, k: int) -> float:
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _normal_quantile(p: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(p)
