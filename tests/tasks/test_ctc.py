"""Reading the steps of a CTC network, against torch's own loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bigray.tasks._ctc import greedy_words, log_likelihoods, spell

CHARACTERS = tuple(" abcdef")


def test_likelihoods_are_those_of_torch() -> None:
    words = ["a", "abba", "aab", "fed", "cafe", "bb"]
    spelt = spell(words, CHARACTERS)
    log_probs = torch.randn(9, 1, 8, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    ours = log_likelihoods(log_probs[:, 0].numpy().astype(np.float64), spelt)
    for word, found in zip(spelt, ours, strict=True):
        classes = torch.from_numpy(word[word >= 0])[None]
        sizes = torch.tensor([9]), torch.tensor([classes.shape[1]])
        loss = torch.nn.functional.ctc_loss(log_probs, classes, *sizes, reduction="none")
        assert found == pytest.approx(-loss.item(), abs=1e-4)


@pytest.mark.parametrize(("word", "steps", "possible"), [("abc", 2, False), ("abc", 3, True), ("aab", 3, False)])
def test_a_word_needs_a_step_per_character_and_one_between_equals(word: str, steps: int, possible: bool) -> None:
    found = log_likelihoods(np.log(np.full((steps, 8), 1 / 8)), spell([word], CHARACTERS))
    assert bool(np.isfinite(found[0])) is possible


def test_words_are_parted_by_spaces_and_know_their_steps() -> None:
    words = greedy_words([0, 2, 2, 0, 1, 1, 3, 0, 3, 0, 1], CHARACTERS)
    assert [(word.text, word.first, word.last) for word in words] == [("a", 1, 2), ("bb", 6, 8)]
    assert [word.stretch for word in words] == [slice(0, 4), slice(6, 10)]
    assert greedy_words([0, 1, 0], CHARACTERS) == []
