"""Image classification, from bytes to labels."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bigray.errors import DataError, InvalidInput, RecipeError, TooLarge
from bigray.models.base import build
from bigray.recipe import Data, Model
from bigray.schemas import ClassificationParameters
from bigray.tasks.image_classification import LARGE, TASK, ImageClassification

MODEL = Model(name="cnn", options={"width": 8, "stages": 2})
COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def picture(label: str, seed: int, size: int = 16) -> dict[str, object]:
    noise = np.random.default_rng(seed).integers(-60, 60, (size, size, 3))
    image = np.clip(np.array(COLOURS[label]) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return {"image": buffer.getvalue(), "label": label}


ROWS = [picture(label, seed) for seed in range(8) for label in COLOURS]


@pytest.fixture(scope="module")
def task() -> ImageClassification:
    return TASK.prepare(Data(train="x"), MODEL, ROWS)


def test_labels_and_size_are_learned(task: ImageClassification) -> None:
    assert task.state.labels == ("blue", "green", "red")
    assert task.state.image_size == 16
    assert (
        TASK.prepare(Data(train="x"), MODEL, [picture("red", 0, 200), picture("blue", 0, 200)]).state.image_size
        == LARGE
    )
    assert TASK.prepare(Data(train="x"), MODEL, [{"label": "a"}, {"label": "b"}]).state.image_size == LARGE
    assert TASK.prepare(Data(train="x"), Model(input={"image_size": 64}), ROWS).state.image_size == 64


def test_what_cannot_serve_is_refused(task: ImageClassification) -> None:
    with pytest.raises(DataError):
        TASK.prepare(Data(train="x"), MODEL, ROWS[:1])
    for settings in ({"image_size": 4}, {"image_size": 5000}, {"size": 32}):
        with pytest.raises(RecipeError):
            TASK.prepare(Data(train="x"), Model(input=settings), ROWS)
    with pytest.raises(RecipeError):
        task.architecture(Model(name="rnn"))
    with pytest.raises(RecipeError):
        task.architecture(Model(name="cnn", options={"widht": 3}))


def test_bytes_and_arrays_are_encoded_alike(task: ImageClassification) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(ROWS[0]["image"])))
    one, two = task.encode(ROWS[:1]), task.encode([{"image": pixels, "label": "blue"}])
    assert one["pixel_values"].shape == (1, 3, 16, 16)
    assert all(np.array_equal(one[name], two[name]) for name in ("pixel_values", "target"))
    assert "target" not in task.encode([{"image": pixels}])


@pytest.mark.parametrize(("value", "kind"), [(b"", InvalidInput), (b"P5 99999 99999 255\n", TooLarge)])
def test_bad_images_are_refused(task: ImageClassification, value: bytes, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        task.encode([{"image": value}])


def test_it_learns_and_an_answer_does_not_depend_on_its_neighbours(task: ImageClassification) -> None:
    torch.manual_seed(0)
    network = build(task.architecture(MODEL), pretrained=False).train()
    batch = {name: torch.from_numpy(array) for name, array in task.encode(ROWS).items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(30):
        loss = task.loss(task.forward(network, batch), batch, 0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()

    def logits(rows: list[dict[str, object]]) -> np.ndarray:
        pixels = torch.from_numpy(task.encode(rows)["pixel_values"])
        with torch.no_grad():
            return task.forward(network, {"pixel_values": pixels})["logits"].numpy()

    fresh = [picture(label, 100 + seed) for seed in range(3) for label in COLOURS]
    answers = task.decode({"logits": logits(fresh)}, {})
    assert task.score(answers, fresh) == {"accuracy": 1.0, "macro_f1": 1.0}
    assert np.allclose(logits(fresh[:1]), logits(fresh)[:1], atol=1e-4)


def test_answers_are_sorted_and_cut() -> None:
    labels = tuple("abcdefg")
    task = TASK(TASK.State(labels=labels, image_size=16))
    outputs = {"logits": np.array([[0.0, 3.0, 1.0, 2.0, -1.0, -2.0, -3.0]])}
    answer = task.decode(outputs, {})[0]
    assert [one.label for one in answer] == ["b", "d", "c", "a", "e"]
    raw = task.decode(outputs, {}, ClassificationParameters(top_k=1, function_to_apply="none"))[0]
    assert [(one.label, one.score) for one in raw] == [("b", 3.0)]
    assert len(task.decode(outputs, {}, ClassificationParameters(top_k=50))[0]) == 7
    assert sum(one.score for one in task.decode(outputs, {}, ClassificationParameters(top_k=7))[0]) == pytest.approx(
        1.0
    )
    task.contract.output.validate_python(answer)


def test_state_examples_and_head(task: ImageClassification, tmp_path: Path) -> None:
    task.save(tmp_path)
    assert TASK.load(tmp_path).state == task.state
    assert task.encode(task.example(2))["pixel_values"].shape == (2, 3, 16, 16)
    assert task.keep(build(task.architecture(MODEL), pretrained=False)) == ["head"]


def test_torchvision_networks_get_a_new_head(task: ImageClassification) -> None:
    model = Model(source="torchvision", name="mobilenet_v2")
    prepared = TASK.prepare(Data(train="x"), model, ROWS)
    assert prepared.state.image_size == LARGE
    network = build(prepared.architecture(model), pretrained=False).eval()
    assert prepared.keep(network) == ["classifier.1"]
    with torch.no_grad():
        assert prepared.forward(network, {"pixel_values": torch.zeros(1, 3, 32, 32)})["logits"].shape == (1, 3)


def test_a_transformer_from_a_local_folder(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
    )
    ViTForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessor(image_mean=[0.5] * 3, image_std=[0.25] * 3).save_pretrained(tmp_path)
    model = Model(source="transformers", name=str(tmp_path))
    task = TASK.prepare(Data(train="x"), model, ROWS)
    assert (task.state.image_size, task.state.mean, task.state.std) == (32, (0.5,) * 3, (0.25,) * 3)
    assert task.model_type == "transformer"
    network = build(task.architecture(model), pretrained=True).eval()
    batch = task.encode(ROWS[:2])
    with torch.no_grad():
        outputs = task.forward(network, {"pixel_values": torch.from_numpy(batch["pixel_values"])})
    assert outputs["logits"].shape == (2, 3)
    assert task.keep(network) == ["classifier"]
