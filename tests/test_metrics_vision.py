"""Metrics of the vision tasks, against the libraries of the field."""

import contextlib
import io

import numpy as np
import pytest

from bigray.metrics import classification, detection_map
from bigray.schemas import Box, Detection


def detection(label: str, score: float, box: np.ndarray) -> Detection:
    corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), map(float, box), strict=True))
    return Detection(label=label, score=score, box=Box(**corners))


def by_pycocotools(
    found: list[list[Detection]], boxes: list[np.ndarray], labels: list[list[str]]
) -> tuple[float, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    names = sorted({label for image in labels for label in image})

    def entry(image: int, label: str, corners: list[float]) -> dict[str, object]:
        xmin, ymin, xmax, ymax = map(float, corners)
        wide, high = xmax - xmin, ymax - ymin
        box = {"bbox": [xmin, ymin, wide, high], "area": wide * high, "iscrowd": 0}
        return {"image_id": image + 1, "category_id": names.index(label) + 1, **box}

    truth = [entry(n, label, box) for n in range(len(boxes)) for label, box in zip(labels[n], boxes[n], strict=True)]
    answers = [
        entry(n, one.label, [one.box.xmin, one.box.ymin, one.box.xmax, one.box.ymax]) | {"score": one.score}
        for n, image in enumerate(found)
        for one in image
        if one.label in names
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number + 1} for number in range(len(boxes))],
            "categories": [{"id": number + 1} for number in range(len(names))],
            "annotations": [one | {"id": number + 1} for number, one in enumerate(truth)],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(answers), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[1], evaluation.stats[0]


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes, labels, found = [], [], []
    for _ in range(6):
        corner = rng.uniform(0, 100, (8, 2))
        true = np.concatenate([corner, corner + rng.uniform(20, 60, (8, 2))], axis=1)
        names = [str(name) for name in rng.choice(["a", "b", "c"], 8)]
        guesses = np.concatenate([true + rng.normal(0, 3, true.shape), true + rng.normal(0, 12, true.shape)])
        guesses[:, 2:] = np.maximum(guesses[:, 2:], guesses[:, :2] + 1)
        said = names + [str(name) for name in rng.choice(["a", "b", "c", "d"], 8)]
        boxes.append(true)
        labels.append(names)
        found.append([detection(name, float(rng.random()), box) for name, box in zip(said, guesses, strict=True)])
    found[0] = []
    scores = detection_map(found, boxes, labels)
    assert (scores["map_50"], scores["map"]) == pytest.approx(by_pycocotools(found, boxes, labels), abs=1e-9)
    assert detection_map(found, boxes, labels) == scores


def test_average_precision_at_its_ends() -> None:
    box = np.array([0.0, 0.0, 10.0, 10.0])
    right = [[detection("a", 0.9, box)]]
    assert detection_map(right, [[box]], [["a"]]) == {"map_50": 1.0, "map": 1.0}
    assert detection_map([[]], [[box]], [["a"]]) == {"map_50": 0.0, "map": 0.0}
    assert detection_map([[]], [[]], [[]]) == {"map_50": 0.0, "map": 0.0}
    assert detection_map(right, [[box + 50]], [["a"]])["map_50"] == 0.0
    twice = [[detection("a", 0.9, box), detection("a", 0.8, box)]]
    assert detection_map(twice, [[box, box + 50]], [["a", "a"]])["map_50"] == pytest.approx(51 / 101)


def test_classification_counts_and_averages() -> None:
    scores = classification(["a", "a", "b", "a"], ["a", "a", "b", "b"])
    assert scores == pytest.approx({"accuracy": 0.75, "macro_f1": (0.8 + 2 / 3) / 2})
