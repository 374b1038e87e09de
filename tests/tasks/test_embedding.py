"""What speaker and face recognition share: the margin, windows, verify and identify, thresholds, scores by pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bigray import evaluate, metrics
from bigray.errors import DataError, InvalidInput
from bigray.schemas import Recognition, RecognitionParameters
from bigray.tasks import _embedding
from bigray.tasks.face_recognition import TASK

NAMES = ("ann", "bob", "cid")


def _task(**state: Any) -> TASK:
    return TASK(TASK.State(identities=NAMES, image_size=16, **state))


def _answers(vectors: Any) -> list[Recognition]:
    return _task().decode({"vector": np.asarray(vectors, dtype=np.float32)}, {})


def _people(count: int, each: int, noise: float, seed: int = 0) -> tuple[list[Recognition], list[dict[str, str]]]:
    """Answers of a model that puts each person somewhere and strays by ``noise``."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((count, 32))
    vectors = np.repeat(centres, each, 0) + noise * rng.standard_normal((count * each, 32))
    return _answers(vectors), [{"identity": f"p{number // each}"} for number in range(count * each)]


def test_the_margin_makes_the_truth_harder_and_nothing_else() -> None:
    embedding = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    classes = torch.tensor([[3.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    logits = _embedding.class_logits(embedding, classes)
    assert torch.allclose(logits / _embedding.SCALE, torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]), atol=1e-6)
    target = torch.tensor([0, 1])
    by_hand = logits.clone()
    by_hand[[0, 1], target] -= _embedding.SCALE * _embedding.MARGIN
    expected = torch.nn.functional.cross_entropy(by_hand, target)
    found = _task().loss({"logits": logits, "vector": embedding}, {"target": target})
    assert torch.allclose(found, expected)
    near = _embedding.class_logits(torch.tensor([[1.0, 0.9], [0.9, 1.0]]), classes)
    harder = _task().loss({"logits": near}, {"target": target})
    assert harder > 2 * torch.nn.functional.cross_entropy(near, target)


def test_distillation_looks_at_directions_and_needs_no_classes() -> None:
    task, mine = _task(), torch.tensor([[1.0, 0.0]], requires_grad=True)
    taught = {"vector": torch.tensor([[0.0, 2.0]])}
    assert float(task.distance({"vector": mine, "logits": mine}, taught, {}).detach()) == _embedding.SCALE
    assert float(task.distance({"vector": torch.tensor([[0.0, 9.0]])}, taught, {})) == pytest.approx(0.0, abs=1e-5)


def test_targets_are_there_when_all_are_known() -> None:
    rows = [{"identity": "cid"}, {"identity": "ann"}]
    assert _task().targets(rows)["target"].tolist() == [2, 0]
    assert _task().targets([*rows, {"identity": "a stranger"}]) == {}
    assert _task().targets([{}]) == {}


def test_windows_of_a_row_are_averaged_as_directions() -> None:
    windows = np.array([[3.0, 0.0], [0.0, 1.0], [-5.0, 0.0]])
    found = _embedding.mean_of_windows(windows, np.array([0, 0, 1]))
    assert np.allclose(found, [[np.sqrt(0.5), np.sqrt(0.5)], [-1.0, 0.0]])
    assert np.allclose(np.linalg.norm(_embedding.mean_of_windows(windows, None), axis=1), 1.0)


def test_verify_and_identify() -> None:
    task = _task(thresholds=((0.1, 0.3), (0.01, 0.7)))
    outputs = {"vector": np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]], dtype=np.float32)}
    bare = task.decode(outputs, {})
    assert bare[0].model_dump(exclude_none=True) == {"embedding": [1.0, 0.0, 0.0]}
    claim = RecognitionParameters(reference=[[2.0, 0.0, 0.0]])
    first, second = task.decode(outputs, {}, claim)
    assert (first.score, first.verified, first.threshold) == (1.0, True, 0.7)
    assert (second.score, second.verified) == (0.6, False)
    loose = task.decode(outputs, {}, claim.model_copy(update={"false_accept_rate": 0.1}))[1]
    assert (loose.threshold, loose.verified) == (0.3, True)
    gallery = {"ann": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], "bob": [[0.0, 0.9, 0.0]], "cid": [[0.0, 0.0, 1.0]]}
    known = task.decode(outputs, {}, RecognitionParameters(gallery=gallery))[1]
    assert known.matches is not None
    assert [(one.label, round(one.score, 3)) for one in known.matches] == [("ann", 0.99), ("bob", 0.8)]
    best = task.decode(outputs, {}, RecognitionParameters(gallery=gallery, top_k=1, threshold=-1.0))[1]
    assert [one.label for one in best.matches or ()] == ["ann"]
    stranger = task.decode(outputs, {}, RecognitionParameters(gallery={"cid": gallery["cid"]}))[0]
    assert stranger.matches == []
    task.contract.output.validate_json(task.contract.output.dump_json(known))


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"reference": [1.0, 0.0]}, "wrong_embedding"),
        ({"reference": []}, "wrong_embedding"),
        ({"reference": [0.0, 0.0, 0.0]}, "wrong_embedding"),
        ({"gallery": {"ann": []}}, "wrong_embedding"),
        ({"gallery": {"ann": [[1.0, 0.0, 0.0], [1.0, 0.0]]}}, "wrong_embedding"),
        ({"reference": [1.0, 0.0, 0.0], "false_accept_rate": 0.03}, "unknown_rate"),
    ],
)
def test_what_cannot_be_compared_is_refused(parameters: dict[str, Any], code: str) -> None:
    task = _task(thresholds=((0.01, 0.7),))
    with pytest.raises(InvalidInput) as error:
        task.decode({"vector": np.eye(3, dtype=np.float32)[:1]}, {}, RecognitionParameters(**parameters))
    assert error.value.code == code


def test_thresholds_keep_their_rates() -> None:
    answers, rows = _people(40, 5, noise=0.8)
    task = _task().settled(answers, rows)
    genuine, impostor = task._pairs(*task._arrays(answers, rows))
    assert [rate for rate, _ in task.state.thresholds] == list(_embedding.RATES)
    for rate, cosine in task.state.thresholds:
        assert 0.5 * rate < (impostor >= cosine).mean() <= rate
    scores = task.score(answers, rows)
    assert scores["false_accept_rate"] <= 0.01
    assert scores["false_reject_rate"] == pytest.approx(float((genuine < dict(task.state.thresholds)[0.01]).mean()))
    few = _task().settled(*_people(3, 2, noise=0.8))
    assert [rate for rate, _ in few.state.thresholds] == [0.1]  # 12 pairs of two people tell no more


def test_scores_of_a_perfect_a_random_and_a_known_model() -> None:
    assert _task().score(*_people(10, 4, noise=0.0)) == {"eer": 0.0, "verification_accuracy": 1.0, "rank_1": 1.0}
    chance = _task().score(*_people(20, 8, noise=1e4))
    assert 0.42 < chance["eer"] < 0.58
    assert chance["rank_1"] < 0.25
    # of three genuine pairs one lies below one of the three impostors: a third of each is wrong at 0.35
    known = metrics.verification(np.array([0.9, 0.8, 0.3]), np.array([0.4, 0.1, 0.0]))
    assert known["eer"] == pytest.approx(1 / 3)


def test_a_row_drawn_twice_makes_no_pair_with_itself() -> None:
    answers, rows = _people(6, 3, noise=1.0)
    twice = _task().score([*answers, *answers], [*rows, *rows])
    # every pair is there four times, which changes no rate
    assert twice == pytest.approx(_task().score(answers, rows))


def test_the_interval_is_that_of_people_and_not_of_rows() -> None:
    task = _task()
    answers, rows = _people(8, 10, noise=1.2, seed=3)
    estimate = evaluate.estimates(task, answers, rows)["eer"]
    assert estimate.low < estimate.value < estimate.high
    for pick in list(evaluate._picks(task, rows, 0))[:5]:
        names = [rows[index]["identity"] for index in pick]
        assert len(set(names)) > 1
        assert all(names.count(name) % 10 == 0 for name in names)
    assert evaluate.drop(task, answers, answers, rows) == (0.0, 0.0, 0.0)


def test_a_split_without_pairs_says_so() -> None:
    with pytest.raises(DataError, match="two rows or more of each identity"):
        _task().score(*_people(5, 1, noise=0.1))
    with pytest.raises(DataError, match="at least two"):
        TASK.known_identities([{"identity": "ann"}] * 3)


def test_very_many_rows_are_cut_to_whole_people() -> None:
    answers, rows = _people(400, 5, noise=0.5)
    _, names, _ = _task()._arrays(answers, rows)
    assert len(names) == _embedding.MAX_SCORED
    assert set(np.unique(names.astype(str), return_counts=True)[1]) == {5}
