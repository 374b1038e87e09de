"""Object detection: an image in; labels, scores and boxes of the objects in it out.

The network is bigray's own `detector`, FCOS (Tian et al. 2019, arXiv 1904.01355); or a DETR-like one of transformers, as
it is or trained further (`bigray.models._queries`); or a one-stage detector of torchvision as it is
(`bigray.models._anchors`). The labels of a checkpoint stay when those of the data are among them.

An image is fitted into the top left corner of a frame of fixed size, aspect kept (a checkpoint may want it stretched over
the frame), and boxes are given in pixels of the original image. One that is much larger than those of training is also
looked at in tiles (see `_tiles`), or small objects would vanish in it. Wire form:
https://huggingface.co/docs/inference-providers/tasks/object-detection.

Sizes: N images, P points over all levels of the frame, or boxes of a checkpoint, C classes, M objects of the image that
has most.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from bigray import metrics
from bigray.errors import DataError, RecipeError
from bigray.models.base import Architecture, own_architecture
from bigray.recipe import Data, Model
from bigray.schemas import Box, Detection, DetectionParameters, Wire
from bigray.tasks import _boxes, _tiles, _vision, base
from bigray.tasks.base import Batch, Metric, Row

if TYPE_CHECKING:
    import torch
    from torch import nn

STRIDES = (8, 16, 32)
"""Pixels between neighbouring points of each level of the network."""
LONG_SIDE = 416
"""Longer side of the frame in pixels, unless the recipe says otherwise."""
OVERLAPS = {"bigray": 0.6, "torchvision": 0.5, "transformers": 1.0}
"""Of two boxes of one label that overlap more than this, the one with the lower score is dropped: as in FCOS; torchvision's
own settings are 0.45 to 0.6; and a DETR-like network finds an object once."""
OF_POINTS = ("class_logits", "distances", "centerness")
OF_BOXES = ("scores", "corners")
CANDIDATES = 1000
"""Boxes of each level looked at, best first."""
MAX_DETECTIONS = 100
"""Objects in an answer at most, best first."""
SCORING_THRESHOLD = 0.05
"""Score from which boxes count when average precision is measured."""


class ObjectDetection(base.Task):
    """See the module's text. Targets: ``boxes`` (N, M, 4) in pixels of the frame, ``target`` (N, M), -1 is padding."""

    name = "object_detection"
    fields: ClassVar[Mapping[str, str]] = {
        "image": "the bytes of an image file",
        "boxes": "corners of the objects, [[xmin, ymin, xmax, ymax], ...] in pixels",
        "labels": "the class of each object",
    }
    primary = Metric("map_50")
    inputs = ("pixel_values",)
    dynamic: ClassVar[Mapping[str, Mapping[int, str]]] = {"pixel_values": {0: "batch"}}
    defaults: ClassVar[Mapping[str, Any]] = {"train": {"epochs": 20, "batch_size": 8, "learning_rate": 1e-3}}

    class State(base.State):
        """Labels and what the network's pixels are."""

        labels: tuple[str, ...]
        frame: tuple[int, int] = (LONG_SIDE, LONG_SIDE)
        """Height and width of the network's input in pixels, multiples of the largest stride."""
        mean: tuple[float, float, float] = _vision.IMAGENET_MEAN
        """Of red, green and blue, subtracted from pixels from 0 to 1."""
        std: tuple[float, float, float] = _vision.IMAGENET_STD
        """Divides the difference."""
        source: Literal["bigray", "transformers", "torchvision"] = "bigray"
        """Whose network it is: bigray's tells of points, the others of boxes."""
        stretch: bool = False
        """Whether an image is stretched over the whole frame."""
        max_objects: int = Field(MAX_DETECTIONS, ge=1)
        """Objects in an answer at most."""
        tile: tuple[int, int] | None = None
        """Median height and width of the images of training; without, the frame's. Larger ones are tiled."""

    state: State

    @classmethod
    def prepare(cls, data: Data, model: Model, rows: Sequence[Row]) -> Self:
        """Learn the labels, and the frame from the usual aspect of the images.

        ``model.input``: ``image_size``, the longer side in pixels, or [height, width].
        """
        seen = {str(label) for row in rows for label in row["labels"]}
        labels = tuple(data.labels or sorted(seen))
        found = _checkpoint(model)
        if not labels:
            raise DataError("Detection needs at least one object; the training rows have none.")
        if unknown := sorted(seen - set(labels)):
            raise DataError(
                f"Training rows have the label {unknown[0]!r}, which is not in data.labels: {list(labels)}."
            )
        tile = _tiles.usual(rows)
        if found is None:
            return cls(cls.State(labels=labels, frame=_frame(model.input, rows, LONG_SIDE), tile=tile))
        frame = _frame(model.input, rows, found["frame"] or found["side"])
        known = {key: found[key] for key in ("mean", "std")} | {"source": model.source, "stretch": bool(found["frame"])}
        return cls(
            cls.State(
                labels=found["labels"] if set(labels) <= set(found["labels"]) else labels,
                frame=frame,
                tile=tile,
                **known,
            )
        )

    @property
    def outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the network says of points, or of boxes."""
        return OF_POINTS if self.state.source == "bigray" else OF_BOXES

    @property
    def model_type(self) -> str | None:  # type: ignore[override]
        """Those of the transformers library have attention."""
        return "transformer" if self.state.source == "transformers" else None

    def architecture(self, model: Model) -> Architecture:
        """Bigray's detector, whose ``weights`` may be those of a torchvision classifier of the same trunk; or a checkpoint."""
        if model.source == "transformers":
            from bigray.models import pretrained

            return pretrained.classifier("AutoModelForObjectDetection", model, self.state.labels)
        if model.source == "torchvision":
            if model.weights is None:
                raise RecipeError(
                    "model.weights: is required, torchvision's detectors are used as they are: DEFAULT for the published "
                    "ones, or a local state dict.",
                    pointer="model.weights",
                )
            options = {**model.options, "num_classes": 1 + len(self.state.labels)}  # and background
            return Architecture(source="torchvision", name=model.name, options=options, weights=model.weights)
        dims = {"kind": "image", "classes": len(self.state.labels)}
        return own_architecture(model, dims, default="detector", known=("detector",), task=self.name)

    def split(self, row: Row, parameters: Wire | None = None) -> Iterator[Row]:
        """Yield the tiles of an image that is much larger than those of training, fine to coarse."""
        image = _vision.decode_image(row["image"])
        for tile in _tiles.tiles(image.shape[0], image.shape[1], self.state.tile or self.state.frame):
            x, y, width, height = tile
            yield {"image": image[y : y + height, x : x + width], "place": (*tile, image.shape[1], image.shape[0])}

    def merge(self, row: Row, found: Sequence[list[Detection]], parameters: Wire | None = None) -> list[Detection]:
        """Return the objects of all tiles, each once."""
        if len(found) == 1:
            return found[0]
        every = [one for tile in found for one in tile]
        kept = _boxes.suppress(
            np.array([[one.box.xmin, one.box.ymin, one.box.xmax, one.box.ymax] for one in every]).reshape(-1, 4),
            np.array([one.score for one in every]),
            np.array([one.label for one in every], dtype=object),
            _tiles.SAME,
            _tiles.PART,
        )
        return [every[number] for number in kept[: self.state.max_objects]]

    def encode(self, rows: Sequence[Row]) -> Batch:
        """Return ``pixel_values`` (N, 3, H, W) float32 and ``size`` (N, 2) int64, the images' own height and width.

        Tiles also have their ``place`` (N, 6) int64: x, y, width and height, and the whole image's width and height.
        """
        images = [_vision.decode_image(row["image"]) for row in rows]
        framed = [
            _vision.resize(image, *self.state.frame)
            if self.state.stretch
            else _vision.letterbox(image, self.state.frame)
            for image in images
        ]
        size = np.array([image.shape[:2] for image in images], dtype=np.int64).reshape(-1, 2)
        batch = {"pixel_values": _vision.to_pixels(framed, self.state.mean, self.state.std), "size": size}
        if all("place" in row for row in rows):
            batch["place"] = np.array([row["place"] for row in rows], dtype=np.int64).reshape(-1, 6)
        return batch | self._targets(rows, size)

    def forward(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``class_logits`` (N, P, C), ``distances`` (N, P, 4) in strides, ``centerness`` (N, P, 1).

        Of a checkpoint ``scores`` (N, P, C) and ``corners`` (N, P, 4) as shares of the frame's sides; a DETR-like one that
        trains also has its own outputs.
        """
        if self.state.source == "transformers":
            from bigray.models import _queries

            return _queries.forward(network, batch["pixel_values"])
        if self.state.source == "torchvision" and network.training:
            raise RecipeError(
                "train.epochs: a detector of torchvision is used as it is; set it to 0, and compress.recover_epochs too. "
                "To train one, leave out model.source, or take a DETR-like checkpoint of transformers.",
                pointer="train.epochs",
            )
        return dict(zip(self.outputs, network(batch["pixel_values"]), strict=True))

    def loss(
        self, outputs: Mapping[str, torch.Tensor], batch: Mapping[str, torch.Tensor], smoothing: float = 0.0
    ) -> torch.Tensor:
        """FCOS's own loss, or that of DETR; ``smoothing`` has no meaning for them."""
        import torch

        from bigray.models import _fcos, _queries

        if self.state.source == "transformers":
            sides = torch.tensor(self.state.frame[::-1] * 2, device=batch["boxes"].device)
            corners = batch["boxes"] / sides
            return _queries.loss(outputs, corners, batch["target"], len(self.state.labels))

        device = outputs["distances"].device
        points, strides = (torch.from_numpy(array).to(device) for array in self.grid)
        return _fcos.loss(
            outputs["class_logits"],
            outputs["distances"],
            outputs["centerness"],
            points,
            strides,
            batch["boxes"],
            batch["target"],
        )

    def decode(self, outputs: Batch, batch: Batch, parameters: Wire | None = None) -> list[list[Detection]]:
        """Return the objects of each image or tile, best first, at least as sure as the threshold; in a tile whole ones."""
        wanted = parameters if isinstance(parameters, DetectionParameters) else DetectionParameters()
        arrays = {name: np.asarray(outputs[name], dtype=np.float32) for name in self.outputs}
        read = self._of_points if self.state.source == "bigray" else self._of_boxes
        return [
            self._answer(
                *read({name: array[row] for name, array in arrays.items()}, wanted.threshold),
                (int(size[0]), int(size[1])),
                _tiles.Place(*batch["place"][row].tolist()) if "place" in batch else None,
            )
            for row, size in enumerate(batch["size"])
        ]

    def score(self, answers: Sequence[list[Detection]], rows: Sequence[Row]) -> dict[str, float]:
        """Mean average precision at an overlap of 0.5 (``map_50``), and COCO's mean over 0.5 to 0.95 (``map``)."""
        labels = [[str(label) for label in row["labels"]] for row in rows]
        return metrics.detection_map(answers, [row["boxes"] for row in rows], labels)

    def for_scoring(self) -> Wire:
        """Average precision looks at unsure boxes too."""
        return DetectionParameters(threshold=SCORING_THRESHOLD)

    def example(self, count: int, size: int | None = None) -> list[Row]:
        """JPEG files whose longer side has ``size`` pixels (by default the frame's own)."""
        height, width = self.state.frame
        scale = (size or max(height, width)) / max(height, width)
        sides = max(1, round(height * scale)), max(1, round(width * scale))
        return [{"image": _vision.sample_image(*sides, number)} for number in range(count)]

    def keep(self, network: nn.Module) -> list[str]:
        """The three layers that make the outputs; of a checkpoint all, whose layers are tied in ways that pruning does not see."""
        if self.state.source != "bigray":
            return [name for name, module in network.named_modules() if name and not list(module.children())]
        return list(self.outputs)

    @cached_property
    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """The points of all levels, x and y in pixels of the frame (P, 2), and their strides (P,); float32."""
        return _boxes.grid(self.state.frame, STRIDES)

    def _targets(self, rows: Sequence[Row], size: np.ndarray) -> Batch:
        if not all("boxes" in row and "labels" in row for row in rows):
            return {}
        index = {label: number for number, label in enumerate(self.state.labels)}
        most = max((len(row["labels"]) for row in rows), default=0)
        boxes = np.zeros((len(rows), most, 4), dtype=np.float32)
        target = np.full((len(rows), most), -1, dtype=np.int64)
        for number, row in enumerate(rows):
            corners = np.asarray(row["boxes"], dtype=np.float32).reshape(-1, 4) * self._scale(size[number])
            wide = ((corners[:, 2:] - corners[:, :2]) > 0).all(axis=1)  # a box without area has nothing to learn
            boxes[number, : len(corners)] = corners
            names = [index.get(str(label), -1) for label in row["labels"]]
            target[number, : len(names)] = np.where(wide, names, -1)
        return {"boxes": boxes, "target": target}

    def _scale(self, size: np.ndarray | tuple[int, int]) -> np.ndarray:
        """Return the factors from pixels of an image of this (height, width) to pixels of the frame, (4,)."""
        frame = self.state.frame
        height, width = frame if self.state.stretch else _vision.fitted(int(size[0]), int(size[1]), frame)
        factors = (width / int(size[1]), height / int(size[0]))
        return np.array(factors * 2, dtype=np.float32)

    def _of_points(self, found: Batch, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return corners (K, 4) in pixels of the frame, scores (K,) and labels (K,) of one image."""
        points, strides = self.grid
        scores = np.sqrt(_sigmoid(found["class_logits"]) * _sigmoid(found["centerness"]))
        point, label = _boxes.best(scores, strides, threshold, CANDIDATES)
        reach = found["distances"][point] * strides[point, None]
        corners = np.concatenate([points[point] - reach[:, :2], points[point] + reach[:, 2:]], axis=1)
        return corners, scores[point, label], label

    def _of_boxes(self, found: Batch, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the same from what a checkpoint says."""
        scores, corners = found["scores"], found["corners"]
        box, label = _boxes.best(scores, np.zeros(len(scores)), threshold, CANDIDATES)
        return corners[box] * np.array(self.state.frame[::-1] * 2, dtype=np.float32), scores[box, label], label

    def _answer(
        self,
        corners: np.ndarray,
        sure: np.ndarray,
        label: np.ndarray,
        size: tuple[int, int],
        place: _tiles.Place | None,
    ) -> list[Detection]:
        corners = np.clip(corners / self._scale(size), 0, np.array([size[1], size[0]] * 2, dtype=np.float32))
        if place is not None:
            corners, whole = place.lift(corners, 1.0 / float(self._scale(size)[0]))
            corners, sure, label = corners[whole], sure[whole], label[whole]
        overlap = OVERLAPS[self.state.source]
        kept = _boxes.suppress(corners, sure, label, overlap)[: self.state.max_objects]
        return [
            Detection(
                label=self.state.labels[label[k]],
                score=float(sure[k]),
                box=Box(**dict(zip(("xmin", "ymin", "xmax", "ymax"), corners[k].tolist(), strict=True))),
            )
            for k in kept
        ]


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def _checkpoint(model: Model) -> dict[str, Any] | None:
    """Return what a pretrained detector says of itself, None for bigray's own."""
    if model.source == "transformers":
        from bigray.models import _queries

        return _queries.describe(model)
    if model.source == "torchvision":
        from bigray.models import _anchors

        return _anchors.describe(model.name)
    return None


def _frame(settings: Mapping[str, Any], rows: Sequence[Row], usual: int | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of the frame: as given, else ``usual``; of a longer side, with the median aspect of the images."""
    largest = STRIDES[-1]
    if extra := sorted(set(settings) - {"image_size"}):
        raise RecipeError(f"model.input.{extra[0]}: unknown key. Known here: image_size.", pointer="model.input")
    if isinstance(usual, tuple):
        if "image_size" not in settings:
            return usual  # a checkpoint's, and it need be no multiple of anything
        usual = max(usual)
    wanted = settings.get("image_size", round(usual / largest) * largest)
    both = list(wanted) if isinstance(wanted, list | tuple) else [wanted, wanted]
    if len(both) != 2 or not all(type(side) is int and largest <= side <= 2048 and not side % largest for side in both):
        raise RecipeError(
            f"model.input.image_size: must be a multiple of {largest} from {largest} to 2048 pixels, for the longer "
            f"side, or [height, width] of such (got {wanted!r}).",
            pointer="model.input.image_size",
        )
    if isinstance(wanted, list | tuple):
        return both[0], both[1]
    sizes = [size for row in rows[:256] if (size := _vision.header_size(row.get("image")))]
    if not sizes:
        return wanted, wanted
    aspect = statistics.median(width / height for height, width in sizes)
    short = max(largest, round(wanted * min(aspect, 1 / aspect) / largest) * largest)
    return (short, wanted) if aspect >= 1 else (wanted, short)


TASK = ObjectDetection
