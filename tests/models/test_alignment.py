"""The alignment of frames and characters, against every path there is."""

from itertools import combinations

import numpy as np
import pytest
import torch

from bigray.models import _alignment


def paths(frames: int, characters: int) -> list[list[int]]:
    """Every way to give each character a stretch of at least one frame."""
    found = []
    for cuts in combinations(range(1, frames), characters - 1):
        ends = [0, *cuts, frames]
        found.append([t for t in range(characters) for _ in range(ends[t + 1] - ends[t])])
    return found


def test_best_path_is_the_best_of_all() -> None:
    torch.manual_seed(0)
    scores = torch.randn(3, 9, 5).log_softmax(-1)
    frames, characters = torch.tensor([9, 6, 4]), torch.tensor([5, 3, 4])
    found = _alignment.durations(scores, frames, characters)
    for row in range(3):
        f, t = int(frames[row]), int(characters[row])
        best = max(paths(f, t), key=lambda path: sum(float(scores[row, i, c]) for i, c in enumerate(path)))
        assert found[row].tolist() == [best.count(c) for c in range(5)]


def test_fewer_frames_than_characters_and_empty_rows() -> None:
    found = _alignment.durations(torch.zeros(2, 3, 5), torch.tensor([3, 0]), torch.tensor([5, 0]))
    assert found.tolist() == [[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    loss = _alignment.all_paths_loss(torch.zeros(2, 3, 5), torch.tensor([3, 0]), torch.tensor([5, 0]))
    assert float(loss) == 0


def test_all_paths_loss_and_its_gradient_are_those_of_every_path() -> None:
    torch.manual_seed(0)
    frames, characters = torch.tensor([9, 6]), torch.tensor([5, 3])
    scores = (-3 * torch.rand(2, 9, 5)).requires_grad_()
    expected = torch.zeros(())
    for row, (f, t) in enumerate(zip(frames.tolist(), characters.tolist(), strict=True)):
        every = [sum(scores[row, i, c] for i, c in enumerate(path)) for path in paths(f, t)]
        expected = expected - torch.logsumexp(torch.stack(every), 0) / f / 2  # type: ignore[arg-type]
    (known,) = torch.autograd.grad(expected, scores)
    inside = torch.arange(5) < characters[:, None, None]
    loss = _alignment.all_paths_loss(scores.masked_fill(~inside, _alignment.NEVER), frames, characters)
    (found,) = torch.autograd.grad(loss, scores)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    assert torch.allclose(found, known, atol=1e-5)


def test_prior_is_that_of_scipy() -> None:
    from scipy.stats import betabinom

    found = _alignment.prior(torch.tensor([7, 4]), torch.tensor([5, 3]))
    assert found.exp().sum(-1)[0].numpy() == pytest.approx(np.ones(7), abs=1e-4)
    for row, (frames, characters) in enumerate(((7, 5), (4, 3))):
        for f in range(frames):
            true = betabinom.logpmf(np.arange(characters), characters - 1, f + 1, frames - f)
            assert found[row, f, :characters].numpy() == pytest.approx(true, abs=1e-3)
    assert (found[1, :, 3:] == _alignment.NEVER).all()
