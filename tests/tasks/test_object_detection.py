"""Object detection, from bytes to boxes and back."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bigray.errors import DataError, InvalidInput, RecipeError
from bigray.models.base import build
from bigray.recipe import Data, Model
from bigray.schemas import Box, Detection, DetectionParameters
from bigray.tasks.object_detection import STRIDES, TASK, ObjectDetection

MODEL = Model(
    name="detector", options={"trunk": "small", "trunk_width": 8, "width": 16, "depth": 1}, input={"image_size": 96}
)


def scene(rng: np.random.Generator, height: int = 60, width: int = 80) -> dict[str, object]:
    """A grey image with a red and a blue rectangle."""
    image = np.full((height, width, 3), 128, np.uint8)
    boxes = []
    for side, colour in ((0, (255, 0, 0)), (1, (0, 0, 255))):
        left, top = side * width // 2 + int(rng.integers(0, 8)), int(rng.integers(0, 20))
        right, bottom = left + int(rng.integers(16, 30)), top + int(rng.integers(16, 36))
        image[top:bottom, left:right] = colour
        boxes.append([float(left), float(top), float(right), float(bottom)])
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return {"image": buffer.getvalue(), "boxes": boxes, "labels": ["red", "blue"]}


ROWS = [scene(np.random.default_rng(seed)) for seed in range(8)]


@pytest.fixture(scope="module")
def task() -> ObjectDetection:
    return TASK.prepare(Data(train="x"), MODEL, ROWS)


def perfect(
    task: ObjectDetection, rows: list[dict[str, object]]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What a perfect network would say, and the batch."""
    from bigray.models._fcos import assign

    batch = task.encode(rows)
    points, strides = task.grid
    boxes, target = batch["boxes"], batch["target"]
    index = assign(*(torch.from_numpy(array) for array in (points, strides, boxes, target >= 0))).numpy()
    logits = np.full((len(rows), len(points), 2), -9.0, np.float32)
    distances = np.zeros((len(rows), len(points), 4), np.float32)
    for row, point in zip(*np.nonzero(index >= 0), strict=True):
        box = boxes[row, index[row, point]]
        logits[row, point, target[row, index[row, point]]] = 9.0
        distances[row, point] = np.concatenate([points[point] - box[:2], box[2:] - points[point]]) / strides[point]
    return {"class_logits": logits, "distances": distances, "centerness": np.full((*index.shape, 1), 9.0)}, batch


def test_the_frame_follows_the_images(task: ObjectDetection) -> None:
    assert task.state.labels == ("blue", "red")
    assert task.state.frame == (64, 96)
    tall = TASK.prepare(Data(train="x"), MODEL, [scene(np.random.default_rng(0), 120, 80)])
    assert tall.state.frame == (96, 64)
    fixed = TASK.prepare(Data(train="x"), Model(input={"image_size": [128, 64]}), ROWS)
    assert fixed.state.frame == (128, 64)
    bare = TASK.prepare(Data(train="x"), MODEL, [{"labels": ["red"], "boxes": [[0, 0, 1, 1]]}])
    assert bare.state.frame == (96, 96)


@pytest.mark.parametrize("wanted", [100, 16, 4096, "96", [96], [96, 100], True])
def test_frames_that_do_not_fit_the_strides_are_refused(wanted: object) -> None:
    with pytest.raises(RecipeError):
        TASK.prepare(Data(train="x"), Model(input={"image_size": wanted}), ROWS)


def test_data_without_objects_and_unknown_labels_are_refused() -> None:
    with pytest.raises(DataError):
        TASK.prepare(Data(train="x"), MODEL, [{"labels": [], "boxes": []}])
    with pytest.raises(DataError, match="'blue'"):
        TASK.prepare(Data(train="x", labels=["red"]), MODEL, ROWS)
    with pytest.raises(RecipeError):
        TASK.prepare(Data(train="x"), Model(input={"image_sise": 96}), ROWS)
    with pytest.raises(RecipeError):
        TASK.prepare(Data(train="x"), MODEL, ROWS).architecture(Model(source="torchvision", name="resnet18"))


def test_boxes_come_back_in_pixels_of_the_original(task: ObjectDetection) -> None:
    rows = [*ROWS[:2], scene(np.random.default_rng(5), 90, 70)]
    outputs, batch = perfect(task, rows)
    answers = task.decode(outputs, batch)
    for answer, row in zip(answers, rows, strict=True):
        found = {one.label: one.box for one in answer}
        assert len(answer) == 2
        for label, box in zip(row["labels"], row["boxes"], strict=True):
            assert np.allclose(
                [found[label].xmin, found[label].ymin, found[label].xmax, found[label].ymax], box, atol=0.1
            )
    assert task.score(answers, rows) == pytest.approx({"map_50": 1.0, "map": 1.0})
    task.contract.output.validate_python(answers[0])


def test_an_answer_does_not_depend_on_its_neighbours(task: ObjectDetection) -> None:
    torch.manual_seed(0)
    network = build(task.architecture(MODEL), pretrained=False).eval()

    def predict(rows: list[dict[str, object]]) -> list[list[Detection]]:
        batch = task.encode(rows)
        with torch.no_grad():
            outputs = task.forward(network, {name: torch.from_numpy(batch[name]) for name in task.inputs})
        return task.decode({k: v.numpy() for k, v in outputs.items()}, batch, DetectionParameters(threshold=0.0))

    alone, together = predict(ROWS[:1])[0], predict(ROWS[:3])[0]
    assert 10 < len(alone) <= task.state.max_objects
    assert len(alone) == len(together)
    assert np.allclose([one.score for one in alone], [one.score for one in together], atol=1e-5)


def test_the_threshold_is_kept(task: ObjectDetection) -> None:
    outputs, batch = perfect(task, ROWS[:1])
    outputs["centerness"] = np.zeros_like(outputs["centerness"])  # scores become sqrt(1 / 2)
    assert len(task.decode(outputs, batch, DetectionParameters(threshold=0.7))[0]) == 2
    assert task.decode(outputs, batch, DetectionParameters(threshold=0.72)) == [[]]
    assert task.for_scoring() == DetectionParameters(threshold=0.05)


def test_targets_are_padded_and_boxes_without_area_are_left_out(task: ObjectDetection) -> None:
    rows = [ROWS[0], {**ROWS[1], "boxes": [[5, 5, 5, 9]], "labels": ["red"]}, {**ROWS[2], "boxes": [], "labels": []}]
    batch = task.encode(rows)
    assert batch["boxes"].shape == (3, 2, 4)
    assert batch["target"].tolist() == [[1, 0], [-1, -1], [-1, -1]]
    assert "boxes" not in task.encode([{"image": ROWS[0]["image"]}])
    assert batch["size"].tolist() == [[60, 80]] * 3
    with pytest.raises(InvalidInput):
        task.encode([{"image": b""}])


def test_it_learns(task: ObjectDetection) -> None:
    torch.manual_seed(0)
    network = build(task.architecture(MODEL), pretrained=False).train()
    batch = {name: torch.from_numpy(array) for name, array in task.encode(ROWS).items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = task.loss(task.forward(network, batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_state_examples_and_heads(task: ObjectDetection, tmp_path: Path) -> None:
    task.save(tmp_path)
    loaded = TASK.load(tmp_path)
    assert loaded.state == task.state
    example = loaded.encode(loaded.example(2))
    assert example["pixel_values"].shape == (2, 3, 64, 96)
    assert loaded.encode(loaded.example(1, 480))["size"].tolist() == [[320, 480]]
    network = build(task.architecture(MODEL), pretrained=False)
    names = dict(network.named_modules())
    assert all(name in names for name in task.keep(network))
    assert len(STRIDES) == 3
    assert Box(xmin=0.0, ymin=0.0, xmax=1.0, ymax=1.0)
