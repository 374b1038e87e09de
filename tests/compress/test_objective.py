"""Which candidate wins, as a pure function of outcomes."""

from bigray.compress import objective
from bigray.results import Trial, Variant


def trial(number, drop, speedup, size=100, status="ok"):
    variant = Variant(engine="openvino", speedup=speedup, size_bytes=size)
    return Trial(number=number, status=status, variant=variant, drop_points=drop, reason=None)


def test_the_fastest_within_the_budget_comes_first():
    trials = [trial(0, 0.2, 3.0), trial(1, 0.9, 6.0), trial(2, 1.1, 9.0), trial(3, -0.5, 0.8)]
    assert [one.number for one in objective.ranked(trials, 1.0)] == [1, 0]


def test_a_model_that_is_not_faster_never_wins():
    assert objective.ranked([trial(0, 0.0, 1.0), trial(1, -5.0, 0.99)], 1.0) == []


def test_failed_trials_never_win_even_with_good_numbers():
    assert objective.ranked([trial(0, 0.0, 9.0, status="failed")], 1.0) == []


def test_smaller_wins_a_tie_in_speed():
    trials = [trial(0, 0.0, 5.001, size=200), trial(1, 0.0, 5.0, size=100)]
    assert objective.ranked(trials, 1.0)[0].number == 1


def test_front_keeps_what_nothing_beats():
    trials = [trial(0, 0.0, 2.0), trial(1, 1.0, 4.0), trial(2, 1.0, 3.0), trial(3, 2.0, 4.0), trial(4, 2.0, 1.0, 10)]
    assert [one.number for one in objective.front(trials)] == [0, 1, 4]


def test_equal_trials_leave_one_on_the_front():
    assert len(objective.front([trial(0, 1.0, 2.0), trial(1, 1.0, 2.0)])) == 1


def test_verdict_needs_both_budget_and_speed():
    assert objective.verdict((0.5, 0.1, 0.9), 2.0, 1.0, 100).qualified
    over = objective.verdict((1.2, 0.4, 2.0), 8.0, 1.0, 100)
    slow = objective.verdict((0.0, 0.0, 0.0), 0.97, 1.0, 100)
    assert not over.qualified
    assert "1.20 points" in over.reason
    assert not slow.qualified
    assert "not faster" in slow.reason


def test_nothing_says_which_constraint_binds_and_the_nearest_point():
    text = objective.explain_none([trial(0, 3.0, 5.0), trial(1, 7.0, 9.0)], 1.0)
    assert "max_drop of 1 points binds" in text
    assert "3.00 points at 5.00x" in text
    assert "No candidate was faster" in objective.explain_none([trial(0, 0.0, 0.5)], 1.0)
    failed = Trial(number=0, status="failed", variant=Variant(engine="x"), reason="RuntimeError: boom")
    assert "boom" in objective.explain_none([failed], 1.0)
