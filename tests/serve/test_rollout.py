"""Decisions about canaries: each kind of harm is found, good ones are left in peace, little evidence decides nothing."""

from __future__ import annotations

import math
import random

import pytest

from bigray.serve.rollout import Compared, Decision, Policy, Seen, Verdict, decide, fisher, quantile_interval, wilson

FAST = [10.0 + i % 7 for i in range(1000)]
PRESENT = Seen(1000, 2, FAST)
GOOD = Seen(200, 0, FAST[:200])
ALIKE = Compared(200, 198)


def verdict(**changed: object) -> Decision:
    return decide(**({"present": PRESENT, "canary": GOOD, "compared": ALIKE} | changed))  # type: ignore[arg-type]


def test_a_good_canary_is_promoted_with_its_numbers() -> None:
    found = verdict()
    assert found.verdict is Verdict.PROMOTE
    assert "0 errors in 200 requests" in found.reason
    assert "99.0% of 200 answers agree" in found.reason


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"canary": Seen(5, 5)}, "all of its first 5"),
        ({"canary": Seen(200, 20, FAST[:180])}, "20 of 200 requests failed"),
        ({"canary": Seen(200, 0, [3 * ms for ms in FAST[:200]])}, "p95 is 48 ms, against 16 ms"),
        ({"compared": Compared(200, 175)}, "87.5% of 200 answers"),
        ({"compared": Compared(400, 340), "canary": Seen(40, 0)}, "85.0% of 400"),
    ],
)
def test_harm_is_rolled_back(changed: dict[str, object], reason: str) -> None:
    found = verdict(**changed)
    assert found.verdict is Verdict.ROLL_BACK
    assert reason in found.reason


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"canary": Seen()}, "0 of 200 requests"),
        ({"canary": Seen(199, 0, FAST[:199])}, "199 of 200 requests"),
        ({"compared": Compared(10, 10)}, "10 of 150 answers"),
        ({"compared": Compared(160, 150)}, "low but not surely"),
        ({"canary": Seen(4, 4)}, "4 of 200"),
        ({"canary": Seen(200, 4, FAST[:196])}, "not surely"),
        ({"canary": Seen(200, 0, [10.0] * 187 + [25.0] * 13)}, "slower but not surely"),
    ],
)
def test_too_little_evidence_holds(changed: dict[str, object], reason: str) -> None:
    found = verdict(**changed)
    assert found.verdict is Verdict.HOLD, found
    assert reason in found.reason


def test_a_first_version_without_traffic_is_no_yardstick_for_speed() -> None:
    assert verdict(present=Seen()).verdict is not Verdict.ROLL_BACK


def test_errors_that_the_present_version_has_too_are_no_harm() -> None:
    assert verdict(present=Seen(1000, 100, FAST), canary=Seen(200, 20, FAST[:180])).verdict is Verdict.PROMOTE


def rollout(rng: random.Random, error: float, slowdown: float, agreement: float) -> Verdict:
    """Look 20 times at growing traffic, a tenth of it on the canary; the first decision counts."""
    present, canary, compared = [0, 0], [0, 0], [0, 0]
    slow: list[float] = []
    fast: list[float] = []
    for _ in range(20):
        for _ in range(180):
            present = [present[0] + 1, present[1] + (rng.random() < 0.002)]
            fast.append(rng.lognormvariate(2.3, 0.4))
        for _ in range(20):
            canary = [canary[0] + 1, canary[1] + (rng.random() < error)]
            slow.append(slowdown * rng.lognormvariate(2.3, 0.4))
            compared = [compared[0] + 1, compared[1] + (rng.random() < agreement)]
        found = decide(Seen(*present, fast), Seen(*canary, slow), Compared(*compared), Policy(min_requests=380))
        if found.verdict is not Verdict.HOLD:
            return found.verdict
    return Verdict.HOLD


def test_good_canaries_are_seldom_rolled_back_and_bad_ones_always() -> None:
    rng = random.Random(7)
    good = [rollout(rng, 0.002, 1.0, 0.97) for _ in range(60)]
    assert good.count(Verdict.ROLL_BACK) <= 3
    assert good.count(Verdict.PROMOTE) >= 45
    for bad in ({"error": 0.2}, {"slowdown": 3.0}, {"agreement": 0.85}):
        found = [rollout(rng, **({"error": 0.002, "slowdown": 1.0, "agreement": 0.97} | bad)) for _ in range(10)]
        assert found == [Verdict.ROLL_BACK] * 10, bad


def test_intervals_against_published_numbers() -> None:
    low, high = wilson(81, 263, 0.025)  # Brown, Cai and DasGupta give 0.2553 to 0.3662 for 81 of 263
    assert (low, high) == pytest.approx((0.2553, 0.3662), abs=2e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    assert fisher(3, 4, 1, 4) == pytest.approx(0.2429, abs=1e-4)  # Fisher's lady tasting tea, three of four right
    assert fisher(0, 10, 5, 10) == pytest.approx(1.0)
    assert quantile_interval([], 0.95) == (0.0, math.inf)
    low, high = quantile_interval(list(range(10_000)), 0.95)
    assert low < 9500 < high
    assert high - low < 150
