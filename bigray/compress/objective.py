"""Which candidate wins: pure functions over finished trials. Nothing here measures or runs anything."""

from __future__ import annotations

from collections.abc import Sequence

from bigray.results import Trial, Variant, Verdict


def front(trials: Sequence[Trial]) -> list[Trial]:
    """Return the finished trials that no other beats or equals in drop, latency and size at once (Pareto front)."""
    done = [trial for trial in trials if trial.status == "ok"]
    return [trial for trial in done if not any(_dominates(other, trial) for other in done)]


def ranked(trials: Sequence[Trial], max_drop: float) -> list[Trial]:
    """Return the trials within the budget and faster than dense, fastest first; the smaller one wins a tie."""
    fit = [trial for trial in trials if objection(trial, max_drop) is None]
    return sorted(fit, key=lambda trial: (-round(trial.variant.speedup, 2), trial.variant.size_bytes, trial.number))


def objection(trial: Trial, max_drop: float) -> str | None:
    """Return why a trial cannot win, or None."""
    if trial.status != "ok" or trial.drop_points is None:
        return trial.reason or "it did not finish"
    if trial.drop_points > max_drop:
        return f"drops {trial.drop_points:.2f} points on validation; at most {max_drop:g} are allowed"
    if trial.variant.speedup <= 1.0:
        return f"is not faster than dense: {trial.variant.speedup:.2f}x"
    return None


def verdict(dropped: tuple[float, float, float], speedup: float, max_drop: float, rows: int) -> Verdict:
    """Judge a candidate by its drop (value, low, high) on unseen rows and its measured speed-up."""
    value, low, high = dropped
    if value > max_drop:
        reason = f"drops {value:.2f} points on unseen rows; at most {max_drop:g} are allowed"
    elif speedup <= 1.0:
        reason = f"is not faster than the dense model when measured: {speedup:.2f}x"
    else:
        reason = f"drops {value:.2f} points on unseen rows (at most {max_drop:g}) and is {speedup:.2f}x faster"
    return Verdict(
        qualified=value <= max_drop and speedup > 1.0, reason=reason, max_drop=max_drop, drop_points=value,
        drop_low=low, drop_high=high, speedup=speedup, rows=rows,
    )  # fmt: skip


def explain_none(trials: Sequence[Trial], max_drop: float) -> str:
    """Say why nothing qualified: the binding constraint and the nearest feasible point."""
    done = [trial for trial in trials if trial.status == "ok" and trial.drop_points is not None]
    if not done:
        reasons = {trial.reason or "unknown" for trial in trials}
        return f"No trial finished. Reasons: {'; '.join(sorted(reasons)[:3])}."
    fast = [trial for trial in done if trial.variant.speedup > 1.0]
    if not fast:
        best = max(done, key=lambda trial: trial.variant.speedup)
        return f"No candidate was faster than the dense model; the best reached {best.variant.speedup:.2f}x ({best.variant.label})."
    nearest = min(fast, key=lambda trial: trial.drop_points or 0.0)
    return (
        f"max_drop of {max_drop:g} points binds: the nearest faster candidate drops {nearest.drop_points:.2f} points at "
        f"{nearest.variant.speedup:.2f}x ({nearest.variant.label}). Allow that much, or give recovery more epochs."
    )


def _dominates(one: Trial, other: Trial) -> bool:
    a, b = _costs(one.variant, one.drop_points), _costs(other.variant, other.drop_points)
    return all(x <= y for x, y in zip(a, b, strict=True)) and (a != b or one.number < other.number)


def _costs(variant: Variant, drop: float | None) -> tuple[float, float, float]:
    return (drop or 0.0, -variant.speedup, float(variant.size_bytes))
