"""Which candidate wins: pure functions over finished trials. Nothing here measures or runs anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bigray.recipe import Compress
from bigray.results import Early, Trial, Variant, Verdict

FASTER = 1.05
"""Least speed-up over the dense model, at every batch size: less cannot be told from what a busy machine does to two
equal models."""
LITTLE = 0.1
"""Share of speed or size that is not worth being clearly worse for (epsilon-dominance: Laumanns et al. 2002)."""
NEAR, FINALISTS = 0.8, 4
"""Of a last race: share of the best speed-up that lets a candidate take part, and how many take part at most."""


def front(trials: Sequence[Trial]) -> list[Trial]:
    """Return the finished trials that no other beats or equals in drop, latency and size at once (Pareto front)."""
    done = [trial for trial in trials if trial.status == "ok"]
    return [trial for trial in done if not any(_dominates(other, trial) for other in done)]


@dataclass(frozen=True)
class Limits:
    """What a candidate must keep; None where nothing is asked. That it must be faster than dense always holds."""

    max_drop: float
    """Points of the primary metric."""
    p95_ms: float | None = None
    size_bytes: float | None = None
    memory_bytes: float | None = None

    @classmethod
    def of(cls, settings: Compress, dense_metric: float) -> Limits:
        """Read them from a recipe, for a dense model of this metric."""
        size, memory = (None if mb is None else mb * 1e6 for mb in (settings.size_mb, settings.memory_mb))
        return cls(settings.budget(dense_metric), settings.p95_ms, size, memory)

    def broken(self, variant: Variant, drop_points: float) -> list[str]:
        """Return what a model with this drop does not keep, as phrases; the metric first."""
        found = []
        if drop_points > self.max_drop:
            found.append(f"drops {drop_points:.2f} points; at most {self.max_drop:.3g} are allowed")
        if variant.least_speedup < FASTER:
            found.append(_slow(variant))
        p95 = variant.latency[0].p95_ms if variant.latency else 0.0
        if self.p95_ms is not None and p95 > self.p95_ms:
            found.append(f"takes {p95:.3g} ms in the 95th percentile; at most {self.p95_ms:g} are allowed")
        if self.size_bytes is not None and variant.size_bytes > self.size_bytes:
            found.append(f"has {variant.size_bytes / 1e6:.3g} MB; at most {self.size_bytes / 1e6:g} are allowed")
        if self.memory_bytes is not None and (variant.memory_bytes or 0) > self.memory_bytes:
            took = (variant.memory_bytes or 0) / 1e6
            found.append(f"takes {took:.4g} MB of memory; at most {self.memory_bytes / 1e6:g} are allowed")
        return found


def ranked(trials: Sequence[Trial], limits: Limits) -> list[Trial]:
    """Return the trials that keep the limits, fastest first; the smaller one wins a tie."""
    fit = [trial for trial in trials if objection(trial, limits) is None]
    return sorted(fit, key=lambda trial: (-round(trial.variant.speedup, 2), trial.variant.size_bytes, trial.number))


def finalists(ranking: Sequence[Trial]) -> list[Trial]:
    """Return the first of `ranked` trials that might be the fastest, going by times that were taken at different times."""
    return [trial for trial in ranking if trial.variant.speedup >= NEAR * ranking[0].variant.speedup][:FINALISTS]


def placed(ranking: Sequence[Trial], speedups: Mapping[int, float]) -> list[Trial]:
    """Return `ranked` trials anew: first those of a last race (trial -> speed-up), fastest first, then the others.

    A tenth of the dense model's speed is no difference: the smaller one wins.
    """
    raced = [trial for trial in ranking if trial.number in speedups]
    raced.sort(key=lambda trial: (-round(speedups[trial.number], 1), trial.variant.size_bytes, trial.number))
    return [*raced, *(trial for trial in ranking if trial.number not in speedups)]


def objection(trial: Trial, limits: Limits) -> str | None:
    """Return why a trial cannot win, or None."""
    if trial.status != "ok" or trial.drop_points is None:
        return trial.reason or "it did not finish"
    return "; ".join(limits.broken(trial.variant, trial.drop_points)) or None


def verdict(dropped: tuple[float, float, float], variant: Variant, limits: Limits, rows: int) -> Verdict:
    """Judge a candidate by its drop (value, low, high) on unseen rows and what was measured of it."""
    value, low, high = dropped
    broken = limits.broken(variant, value)
    fast = f"{variant.speedup:.2f}x faster" + (f", at least {_least(variant)}" if len(variant.speedups) > 1 else "")
    kept = f"drops {value:.2f} points on unseen rows (at most {limits.max_drop:.3g}) and is {fast}"
    return Verdict(
        qualified=not broken, reason="; ".join(broken) or kept, max_drop=limits.max_drop, drop_points=value,
        drop_low=low, drop_high=high, speedup=variant.speedup, rows=rows,
    )  # fmt: skip


def nearest(trials: Sequence[Trial], limits: Limits) -> Trial | None:
    """Return the finished trial that breaks the fewest limits, and of these the one that loses least, or None."""
    done = [trial for trial in trials if trial.status == "ok" and trial.drop_points is not None]

    def misses(trial: Trial) -> tuple[bool, int, float, float]:
        drop = trial.drop_points or 0.0
        broken = limits.broken(trial.variant, drop)
        return trial.variant.least_speedup < FASTER, len(broken), max(drop, limits.max_drop), -trial.variant.speedup

    return min(done, key=misses, default=None)


def explain_none(trials: Sequence[Trial], limits: Limits) -> str:
    """Say why nothing qualified: the binding constraint and the nearest feasible point."""
    best = nearest(trials, limits)
    if best is None:
        reasons = {trial.reason or "unknown" for trial in trials}
        return f"No trial finished. Reasons: {'; '.join(sorted(reasons)[:3])}."
    if best.variant.least_speedup < FASTER:
        return (
            f"No candidate was clearly faster than the dense model; the best reached {_least(best.variant)}, and "
            f"{FASTER:g}x is the least ({best.variant.label})."
        )
    drop = best.drop_points or 0.0
    binding = "; ".join(limits.broken(best.variant, drop))
    advice = " Allow that much, or give recovery more epochs." if drop > limits.max_drop else ""
    return (
        f"No candidate keeps all limits. The nearest one ({best.variant.label}: {drop:.2f} points at "
        f"{best.variant.speedup:.2f}x) {binding}.{advice}"
    )


def hopeless(variant: Variant, trials: Sequence[Trial]) -> str | None:
    """Return why training cannot make a good candidate of a model as fast and as large as this, or None.

    Its speed and size are known before it is trained. It is not worth training when it is not faster than dense, or when
    another is as fast, as small, and lost nothing. Limits of the recipe are not asked: outcomes outlive a budget.
    """
    if variant.least_speedup < FASTER:
        return _slow(variant)
    for other in trials:
        free = other.status == "ok" and other.drop_points is not None and other.drop_points <= 0.0
        if free and other.variant.speedup >= variant.speedup and other.variant.size_bytes <= variant.size_bytes:
            return f"is slower ({variant.speedup:.2f}x) and larger than one that lost nothing ({other.variant.label})"
    return None


def outrun(variant: Variant, early: Early, trials: Sequence[Trial]) -> str | None:
    """Return why a candidate in the middle of its training will not reach the front, or None.

    Another one, about as fast and as small, had clearly lost less after as much training: their intervals do not meet.
    Candidates are compared at the same stage only, as in successive halving (Jamieson and Talwalkar 2016, AISTATS 51).
    """
    for other in trials:
        if other.status != "ok" or other.early is None or other.early.high >= early.low:
            continue
        fast = other.variant.speedup >= variant.speedup * (1 - LITTLE)
        small = other.variant.size_bytes <= variant.size_bytes * (1 + LITTLE)
        if fast and small:
            return (
                f"had lost {early.drop_points:.2f} points in the middle of its training, where one about as fast and as "
                f"small had lost {other.early.drop_points:.2f} ({other.variant.label})"
            )
    return None


def _slow(variant: Variant) -> str:
    how = "not" if variant.least_speedup <= 1.0 else "hardly"
    return f"is {how} faster than the dense model when measured: {_least(variant)}; at least {FASTER:g}x is asked"


def _least(variant: Variant) -> str:
    least = f"{variant.least_speedup:.2f}x"
    if len(variant.speedups) < 2:
        return least
    return f"{least} at batch size {variant.latency[variant.speedups.index(variant.least_speedup)].batch_size}"


def _dominates(one: Trial, other: Trial) -> bool:
    a, b = _costs(one.variant, one.drop_points), _costs(other.variant, other.drop_points)
    return all(x <= y for x, y in zip(a, b, strict=True)) and (a != b or one.number < other.number)


def _costs(variant: Variant, drop: float | None) -> tuple[float, float, float]:
    return (drop or 0.0, -variant.speedup, float(variant.size_bytes))
