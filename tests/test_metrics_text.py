"""Text metrics, against values worked out by hand from their definitions."""

import pytest

from bigray import metrics


@pytest.mark.parametrize(
    ("said", "truth", "f1", "exact"),
    [
        ("the Eiffel Tower!", ["Eiffel tower"], 1.0, 1.0),
        ("in Paris, France", ["Paris"], 0.5, 0.0),
        ("Paris", ["London", "paris", "Rome"], 1.0, 1.0),
        ("two two words", ["two words words"], 2 / 3, 0.0),
        ("U.S.", ["US"], 1.0, 1.0),
        ("", [], 1.0, 1.0),
        ("something", [], 0.0, 0.0),
        ("", ["something"], 0.0, 0.0),
        ("an", ["the"], 1.0, 1.0),
    ],
)
def test_squad(said, truth, f1, exact):
    found = metrics.squad([said], [truth])
    assert found["f1"] == pytest.approx(f1)
    assert found["exact_match"] == exact


def test_squad_is_the_mean_over_rows():
    assert metrics.squad(["a cat", "dog"], [["cat"], ["cat"]]) == {"f1": 0.5, "exact_match": 0.5}
