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


def test_bleu_and_chrf_are_those_of_sacrebleu():
    import sacrebleu

    said = ["Der Hund rennt schnell.", "Zwei Kinder spielen im Park.", ""]
    truth = ["Der Hund rennt sehr schnell.", "Zwei Kinder spielen in einem Park.", "Nichts"]
    found = metrics.translation(said, truth)
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(said, [truth]).score / 100)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(said, [truth]).score / 100)
    assert metrics.translation(truth, truth)["bleu"] == pytest.approx(1.0)


def test_rouge_by_hand():
    found = metrics.summarization(["the cats sat"], ["the cat sat down"])
    # stemming makes cats cat: three of three words, three of four; two of two pairs, two of three
    assert found["rouge_1"] == pytest.approx(2 * 1.0 * 0.75 / 1.75)
    assert found["rouge_2"] == pytest.approx(2 * 1.0 * (2 / 3) / (5 / 3))
    assert found["rouge_l"] == pytest.approx(found["rouge_1"])
    assert metrics.summarization(["a b", "c"], ["a b", "d"])["rouge_1"] == pytest.approx(0.5)
