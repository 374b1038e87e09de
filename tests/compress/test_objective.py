"""Which candidate wins, as a pure function of outcomes."""

import pytest

from bigray.artifact import Step
from bigray.compress import objective
from bigray.compress.objective import Limits
from bigray.recipe import Compress
from bigray.results import Early, Latency, Trial, Variant

ONE = Limits(1.0)


def latency(p95=1.0, batch_size=1):
    return Latency(batch_size=batch_size, threads=1, p50_ms=p95, p95_ms=p95, items_per_s=1.0, spread=0.0, runs=9)


def variant(speedup=2.0, size=100, p95=1.0, memory=None):
    return Variant(engine="openvino", speedup=speedup, size_bytes=size, latency=[latency(p95)], memory_bytes=memory)


def trial(number, drop, speedup, size=100, status="ok", **more):
    made = variant(speedup, size, **more)
    return Trial(number=number, status=status, variant=made, drop_points=drop, reason=None)


def test_the_fastest_within_the_budget_comes_first():
    trials = [trial(0, 0.2, 3.0), trial(1, 0.9, 6.0), trial(2, 1.1, 9.0), trial(3, -0.5, 0.8)]
    assert [one.number for one in objective.ranked(trials, ONE)] == [1, 0]


def test_a_model_that_is_not_faster_never_wins():
    assert objective.ranked([trial(0, 0.0, 1.0), trial(1, -5.0, 0.99)], ONE) == []


def test_a_model_that_is_slower_at_one_of_the_batch_sizes_never_wins():
    one = trial(0, 0.0, 1.3)
    at_both = one.variant.model_copy(update={"latency": [latency(), latency(5.0, 8)], "speedups": (1.9, 0.9)})
    one = one.model_copy(update={"variant": at_both})
    assert objective.ranked([one], ONE) == []
    assert "not faster" in (objective.objection(one, ONE) or "")
    assert "0.90x at batch size 8" in (objective.objection(one, ONE) or "")
    assert "0.90x at batch size 8" in objective.explain_none([one], ONE)
    assert objective.hopeless(at_both, []) is not None
    assert not objective.verdict((0.0, 0.0, 0.0), at_both, ONE, 10).qualified
    fine = at_both.model_copy(update={"speedups": (1.9, 1.1)})
    found = objective.verdict((0.0, 0.0, 0.0), fine, ONE, 10)
    assert found.qualified
    assert "1.30x faster, at least 1.10x at batch size 8" in found.reason


def test_a_label_is_short():
    steps = (Step(method="prune_structured", version=1, knobs={"ratio": 0.30001, "skip": "a.b,a.c,a.d"}),)
    label = Variant(engine="openvino", steps=steps).label
    assert label == "openvino: prune_structured(ratio=0.3, skip=3 layers)"


def test_failed_trials_never_win_even_with_good_numbers():
    assert objective.ranked([trial(0, 0.0, 9.0, status="failed")], ONE) == []


def test_smaller_wins_a_tie_in_speed():
    trials = [trial(0, 0.0, 5.001, size=200), trial(1, 0.0, 5.0, size=100)]
    assert objective.ranked(trials, ONE)[0].number == 1


def test_those_that_might_be_the_fastest_race_and_the_others_follow():
    trials = [
        trial(0, 0.0, 5.0),
        trial(1, 0.0, 4.9),
        trial(2, 0.0, 4.1, size=50),
        trial(3, 0.0, 3.9),
        trial(4, 0.0, 2.0),
    ]
    ranking = objective.ranked(trials, ONE)
    assert [one.number for one in objective.finalists(ranking)] == [0, 1, 2]
    placed = objective.placed(ranking, {0: 4.41, 1: 4.62, 2: 4.64})
    assert [one.number for one in placed] == [2, 1, 0, 3, 4]  # 2 is as fast as 1, and smaller
    assert objective.placed(ranking, {}) == ranking
    assert objective.finalists([]) == []
    assert len(objective.finalists([trial(number, 0.0, 5.0) for number in range(9)])) == objective.FINALISTS


def test_front_keeps_what_nothing_beats():
    trials = [trial(0, 0.0, 2.0), trial(1, 1.0, 4.0), trial(2, 1.0, 3.0), trial(3, 2.0, 4.0), trial(4, 2.0, 1.0, 10)]
    assert [one.number for one in objective.front(trials)] == [0, 1, 4]


def test_equal_trials_leave_one_on_the_front():
    assert len(objective.front([trial(0, 1.0, 2.0), trial(1, 1.0, 2.0)])) == 1


def test_verdict_needs_both_budget_and_speed():
    assert objective.verdict((0.5, 0.1, 0.9), variant(2.0), ONE, 100).qualified
    over = objective.verdict((1.2, 0.4, 2.0), variant(8.0), ONE, 100)
    slow = objective.verdict((0.0, 0.0, 0.0), variant(0.97), ONE, 100)
    assert not over.qualified
    assert "1.20 points" in over.reason
    assert not slow.qualified
    assert "not faster" in slow.reason
    assert "hardly faster" in objective.verdict((0.0, 0.0, 0.0), variant(1.04), ONE, 100).reason


def test_nothing_says_which_constraint_binds_and_the_nearest_point():
    text = objective.explain_none([trial(0, 3.0, 5.0), trial(1, 7.0, 9.0)], ONE)
    assert "drops 3.00 points; at most 1 are allowed" in text
    assert "3.00 points at 5.00x" in text
    assert "No candidate was clearly faster" in objective.explain_none([trial(0, 0.0, 0.5)], ONE)
    failed = Trial(number=0, status="failed", variant=Variant(engine="x"), reason="RuntimeError: boom")
    assert "boom" in objective.explain_none([failed], ONE)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(1.0, p95_ms=5.0), "95th percentile; at most 5 are allowed"),
        (Limits(1.0, size_bytes=2e6), "3 MB; at most 2 are allowed"),
        (Limits(1.0, memory_bytes=1e8), "400 MB of memory; at most 100 are allowed"),
    ],
)
def test_each_limit_is_kept_and_named(limits, words):
    fit, unfit = trial(0, 0.0, 2.0), trial(1, 0.0, 9.0, size=3_000_000, p95=7.0, memory=400_000_000)
    assert objective.ranked([fit, unfit], limits) == [fit]
    assert words in objective.objection(unfit, limits)
    assert words in objective.explain_none([unfit], limits)


def test_the_nearest_breaks_the_fewest_limits_and_is_never_a_slower_one():
    trials = [trial(0, 2.0, 3.0), trial(1, 1.5, 2.0), trial(2, 0.0, 0.9), trial(3, 1.2, 8.0, size=10**7)]
    assert objective.nearest(trials, ONE).number == 3
    assert objective.nearest(trials, Limits(1.0, size_bytes=1e6)).number == 1
    assert objective.nearest([trial(0, 1.0, 2.0, status="failed")], ONE) is None


def test_a_budget_in_percent_follows_the_dense_model():
    assert Limits.of(Compress(max_drop=2.0, max_drop_unit="percent"), 0.8).max_drop == pytest.approx(1.6)
    assert Limits.of(Compress(max_drop=2.0), 0.8).max_drop == 2.0
    assert Limits.of(Compress(size_mb=3), 0.8).size_bytes == 3e6


def test_training_is_saved_where_it_cannot_help():
    assert "not faster" in objective.hopeless(variant(0.9), [])
    lossless, lossy = trial(0, -0.1, 3.0, size=50), trial(1, 0.4, 3.0, size=50)
    assert "lost nothing" in objective.hopeless(variant(2.0), [lossless])
    assert objective.hopeless(variant(2.0), [lossy]) is None
    assert objective.hopeless(variant(3.1), [lossless]) is None
    assert objective.hopeless(variant(2.0, size=40), [lossless]) is None


def test_a_candidate_clearly_behind_one_as_fast_and_as_small_is_outrun():
    def seen(number, early, speedup=4.0, size=100, status="ok"):
        low, value, high = early
        found = Early(drop_points=value, low=low, high=high)
        return trial(number, 0.5, speedup, size, status=status).model_copy(update={"early": found})

    behind = Early(drop_points=12.0, low=8.0, high=16.0)
    ahead = (0.0, 2.0, 4.0)
    reason = objective.outrun(variant(4.0), behind, [trial(0, 0.1, 9.0), seen(1, ahead)])
    assert reason is not None
    assert "12.00 points" in reason
    assert "2.00" in reason
    assert objective.outrun(variant(4.2, 95), behind, [seen(1, ahead)]), "a little faster and smaller is no excuse"
    for spared in (
        [],
        [trial(0, 0.0, 9.0)],  # never seen at that stage
        [seen(1, (0.0, 6.0, 9.0))],  # the intervals meet
        [seen(1, ahead, speedup=3.5)],
        [seen(1, ahead, size=120)],
        [seen(1, ahead, status="stopped")],
    ):
        assert objective.outrun(variant(4.0), behind, spared) is None
