"""Metrics with intervals, and paired drops."""

import numpy as np
import pytest

from bigray import evaluate
from bigray.schemas import Label
from bigray.tasks.text_classification import TASK


def answer(label):
    return [Label(label=label, score=1.0)]


@pytest.fixture
def task():
    return TASK.__new__(TASK)


def test_interval_holds_the_value_and_shrinks_with_rows(task):
    rng = np.random.default_rng(0)

    def width(count):
        truth = [{"label": "a"} for _ in range(count)]
        found = [answer("a" if hit else "b") for hit in rng.random(count) < 0.8]
        estimate = evaluate.estimates(task, found, truth)["accuracy"]
        assert estimate.low <= estimate.value <= estimate.high
        return estimate.high - estimate.low

    assert width(1600) < 0.6 * width(100)


def test_paired_drop_of_equal_models_is_exactly_zero(task):
    rows = [{"label": "a"}, {"label": "b"}] * 20
    found = [answer("a")] * 40
    assert evaluate.drop(task, found, found, rows) == (0.0, 0.0, 0.0)


def test_drop_is_in_points_and_signed(task):
    rows = [{"label": "a"}] * 100
    good, worse = [answer("a")] * 100, [answer("a")] * 97 + [answer("b")] * 3
    value, low, high = evaluate.drop(task, good, worse, rows)
    assert value == pytest.approx(3.0)
    assert 0 <= low <= 3.0 <= high
    assert evaluate.drop(task, worse, good, rows)[0] == pytest.approx(-3.0)


def test_answers_keep_the_rows_order(task):
    class Echo:
        def __init__(self, task):
            self.task = task

        def predict(self, rows, parameters=None):
            return [row["text"] for row in rows]

    rows = [{"text": "x" * n} for n in (5, 1, 9, 3, 3, 7)]
    assert evaluate.answers(Echo(task), rows, batch_size=2) == [row["text"] for row in rows]
