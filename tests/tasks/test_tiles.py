"""Images far larger than the detector's: tiles, and whole boxes in pixels of the original."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bigray.errors import TooLarge
from bigray.predictor import Predictor
from bigray.recipe import Data, Model
from bigray.tasks import _tiles
from bigray.tasks.object_detection import TASK, ObjectDetection

USUAL = (240, 320)


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def task() -> ObjectDetection:
    row = {"image": _png(np.zeros((*USUAL, 3), np.uint8)), "labels": ["red"], "boxes": [[0, 0, 9, 9]]}
    return TASK.prepare(Data(train="x"), Model(name="detector", input={"image_size": [96, 128]}), [row])


class _Sees:
    """Stands for a network: it finds the red rectangles of its frame, if they are as large as those it learned."""

    def __init__(self, task: ObjectDetection) -> None:
        self.task, self.runs = task, 0

    def run(self, batch: dict[str, np.ndarray], part: str = "") -> dict[str, np.ndarray]:
        from scipy import ndimage

        points, strides = self.task.grid
        pixels = batch["pixel_values"]
        self.runs += len(pixels)
        logits = np.full((len(pixels), len(points), 1), -9.0, np.float32)
        distances = np.zeros((len(pixels), len(points), 4), np.float32)
        for row, image in enumerate(pixels):
            regions, _ = ndimage.label((image[0] > 1.0) & (image[1] < 0.0))
            for y, x in ndimage.find_objects(regions):
                if min(y.stop - y.start, x.stop - x.start) < 4:
                    continue  # too small to be seen
                box = np.array([x.start, y.start, x.stop, y.stop], np.float32)
                middle = (box[:2] + box[2:]) / 2
                near = int(np.abs(points - middle).sum(1).argmin())
                logits[row, near] = 9.0
                distances[row, near] = np.concatenate([points[near] - box[:2], box[2:] - points[near]]) / strides[near]
        return {"class_logits": logits, "distances": distances, "centerness": np.full((*logits.shape[:2], 1), 9.0)}


def _found(task: ObjectDetection, image: np.ndarray) -> tuple[list[list[float]], int]:
    sees = _Sees(task)
    (answer,) = Predictor(task, sees).predict([{"image": _png(image)}])  # type: ignore[arg-type]
    return sorted([one.box.xmin, one.box.ymin, one.box.xmax, one.box.ymax] for one in answer), sees.runs


def _scene(height: int, width: int, boxes: list[tuple[int, int, int, int]]) -> np.ndarray:
    image = np.full((height, width, 3), 128, np.uint8)
    for left, top, right, bottom in boxes:
        image[top:bottom, left:right] = (255, 0, 0)
    return image


def test_an_image_of_usual_size_is_looked_at_once(task: ObjectDetection) -> None:
    assert task.state.tile == USUAL
    assert _found(task, _scene(*USUAL, [(40, 40, 90, 100)]))[1] == 1
    assert _found(task, _scene(2 * USUAL[0], 2 * USUAL[1], []))[1] == 1


def test_small_and_large_objects_of_a_huge_image_are_found_in_its_pixels(task: ObjectDetection) -> None:
    """6000 x 4000: objects in the middle of tiles, across their seams, in corners, and larger than any fine tile."""
    finest = list(_tiles.tiles(4000, 6000, USUAL))[250]
    boxes = [
        (5, 8, 45, 40),
        (5950, 3960, 5995, 3995),
        (finest[0] - 20, finest[1] - 20, finest[0] + 25, finest[1] + 25),
        (3000, 2000, 3040, 2030),
        (3100, 2000, 3140, 2030),
        (1000, 500, 1220, 720),
        (2000, 2600, 3500, 3700),
    ]
    found, runs = _found(task, _scene(4000, 6000, boxes))
    assert runs > 300
    assert len(found) == len(boxes)
    for ours, truth in zip(found, sorted(boxes), strict=True):
        slack = 0.06 * max(truth[2] - truth[0], truth[3] - truth[1]) + 3
        assert np.abs(np.array(ours) - truth).max() <= slack, (ours, truth)


@pytest.mark.parametrize("shift", range(0, 220, 20))
def test_an_object_is_found_once_wherever_the_seams_lie(task: ObjectDetection, shift: int) -> None:
    box = (300 + shift, 200 + shift, 370 + shift, 260 + shift)
    found, _ = _found(task, _scene(800, 1200, [box]))
    assert len(found) == 1
    assert np.abs(np.array(found[0]) - box).max() <= 6


def test_tiles_cover_all_and_share_a_third() -> None:
    for height, width in ((4000, 6000), (700, 300), (16_000, 1_500)):
        covered = np.zeros((height, width), np.uint8)
        for x, y, wide, high in list(_tiles.tiles(height, width, USUAL))[:-1]:
            covered[y : y + high, x : x + wide] += 1
            assert x + wide <= width
            assert y + high <= height
        assert covered.all()
    starts = _tiles._starts(6000, 320)
    assert max(np.diff(starts)) <= 320 * (1 - _tiles.SHARED) + 1


def test_the_number_of_tiles_is_bounded() -> None:
    assert sum(1 for _ in _tiles.tiles(5000, 5000, (32, 32))) < 2 * _tiles.MAX_TILES


def test_memory_is_that_of_the_image_and_a_few_tiles(task: ObjectDetection) -> None:
    data = _png(_scene(2000, 3000, []))
    row: dict[str, Any] = {"image": data}
    tracemalloc.start()
    Predictor(task, _Sees(task)).predict([row])  # type: ignore[arg-type]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2.5 * 2000 * 3000 * 3


def test_the_limits_on_images_stay(task: ObjectDetection) -> None:
    with pytest.raises(TooLarge):
        list(task.split({"image": _png(np.zeros((5001, 5000, 3), np.uint8))}))
