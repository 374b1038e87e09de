"""Face recognition: an image of a face in, a vector out, to be compared with others by its cosine.

Enrol a person by keeping the embeddings of some images; verify a claim by sending them along as ``reference``; identify
by sending a ``gallery`` of several people. Networks: bigray's own residual ``cnn``, trained from nothing, or a
classifier of torchvision (``resnet18``, ``mobilenet_v2``, ...) whose last layer becomes the embedding.

An image is taken for a face that fills it, and resized to a square. With ``model.input.detector`` (a local ONNX file,
see `bigray.tasks._faces`) the largest face is found and brought upright first, in training and in serving alike.
Training, loss and scores: `bigray.tasks._embedding`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from bigray.errors import InvalidInput, RecipeError
from bigray.models.base import Architecture, own_architecture, own_options
from bigray.recipe import Data, Model
from bigray.tasks import _faces, _vision
from bigray.tasks._embedding import EmbeddingState, EmbeddingTask, class_logits
from bigray.tasks.base import Batch, Row

if TYPE_CHECKING:
    import torch
    from torch import nn

SIDE = 112
"""Pixels that images are resized to, unless they are smaller; customary since ArcFace (arXiv 1801.07698)."""
EMBEDDING = 128
"""Numbers in an embedding of a torchvision network, unless ``model.options.num_classes`` says otherwise."""
DETECTOR_FILE = "detector.onnx"


class FaceRecognition(EmbeddingTask):
    """See the module's text."""

    name = "face_recognition"
    truth = "identity"
    fields: ClassVar[Mapping[str, str]] = {"image": "the bytes of an image file", "identity": "who it is"}
    inputs = ("pixel_values",)
    dynamic: ClassVar[Mapping[str, Mapping[int, str]]] = {"pixel_values": {0: "batch"}}
    defaults: ClassVar[Mapping[str, Any]] = {
        "data": {
            "group_by": "identity",
            "augment": [
                {"name": "flip", "probability": 0.5},
                {"name": "crop", "probability": 0.8},
                {"name": "brightness", "probability": 0.5},
            ],
        },
        "train": {"epochs": 30, "batch_size": 32, "learning_rate": 2e-3},
    }

    class State(EmbeddingState):
        """Also what the network's pixels are."""

        image_size: int = Field(SIDE, ge=8, le=1024)
        """Side of the square, in pixels."""
        mean: tuple[float, float, float] = _vision.IMAGENET_MEAN
        """Of red, green and blue, subtracted from pixels from 0 to 1."""
        std: tuple[float, float, float] = _vision.IMAGENET_STD
        """Divides the difference."""

    state: State

    def __init__(self, state: Any, detector: bytes | None = None) -> None:
        super().__init__(state)
        self._detector = detector

    @classmethod
    def prepare(cls, data: Data, model: Model, rows: Sequence[Row]) -> Self:
        """Learn who is in training; take the size from the images when they are small."""
        known = {"image_size": _vision.usual_side(rows, SIDE, SIDE), "detector": ""}
        own = own_options(model.input, known, "model.input")
        if not 8 <= own["image_size"] <= 1024:
            raise RecipeError(
                f"model.input.image_size: must be 8 to 1024 pixels (got {own['image_size']}).",
                pointer="model.input.image_size",
            )
        detector = _read_detector(own["detector"]) if own["detector"] else None
        state = cls.State(identities=cls.known_identities(rows), image_size=own["image_size"])
        return cls(state, detector)

    def architecture(self, model: Model) -> Architecture:
        """Bigray's ``cnn``, or a torchvision network with a new last layer."""
        identities = len(self.state.identities)
        if model.source == "torchvision":
            options = {"num_classes": EMBEDDING, **model.options, "identities": identities}
            return Architecture(source="torchvision", name=model.name, options=options, weights=model.weights)
        dims = {"kind": "face", "image_size": self.state.image_size, "identities": identities}
        return own_architecture(model, dims, default="cnn", known=("cnn",), task=self.name)

    def encode(self, rows: Sequence[Row]) -> Batch:
        """Return ``pixel_values`` (N, 3, S, S) float32.

        Raises:
            InvalidInput: Also ``no_face``, when there is a detector.
        """
        pixels = _vision.to_pixels([self._face(row) for row in rows], self.state.mean, self.state.std)
        return {"pixel_values": pixels} | self.targets(rows)

    def forward(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``vector`` (N, D), and in training ``logits`` (N, C)."""
        embedding = network(batch["pixel_values"])
        if not network.training:
            return {"vector": embedding}
        return {"vector": embedding, "logits": class_logits(embedding, network.classes.weight)}  # type: ignore[union-attr,arg-type]

    def example(self, count: int, size: int | None = None) -> list[Row]:
        """JPEG files of ``size`` x ``size`` pixels (by default the network's own size)."""
        side = size or self.state.image_size
        # the empty name lets a detector pass them: they show no face
        return [{"image": _vision.sample_image(side, side, number), self.truth: ""} for number in range(count)]

    def keep(self, network: nn.Module) -> list[str]:
        """The layer that makes the embedding: the last one as wide as the classes' vectors; and the classes."""
        size = network.classes.in_features  # type: ignore[union-attr]
        heads = [
            name
            for name, module in network.named_modules()
            if size in (getattr(module, "out_features", None), getattr(module, "out_channels", None))
        ]
        return [*[name for name in heads if name != "classes"][-1:], "classes"]

    def save(self, directory: Path) -> None:
        """Also write the detector."""
        super().save(directory)
        if self._detector is not None:
            (directory / DETECTOR_FILE).write_bytes(self._detector)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read back what `save` wrote."""
        file = directory / DETECTOR_FILE
        task = super().load(directory)
        task._detector = file.read_bytes() if file.is_file() else None
        return task

    def _face(self, row: Row) -> np.ndarray:
        image, side = _vision.decode_image(row["image"]), self.state.image_size
        if self._detector is None:
            return _vision.resize(image, side, side)
        points = _faces.find(image, self._detector)
        if points is not None:
            return _faces.align(image, points, side)
        if self.truth in row:  # of a data set, where it is known that there is a face: one miss must not end a run
            return _vision.resize(image, side, side)
        raise InvalidInput("No face was found in the image. Send one that shows a face from the front.", code="no_face")


def _read_detector(place: str) -> bytes:
    from bigray.models import pretrained

    path = Path(pretrained.locate(place))
    if not path.is_file():
        raise RecipeError(
            f"model.input.detector: there is no file {place!r}. Give a local ONNX file of YuNet, or package:NAME/FILE.",
            pointer="model.input.detector",
        )
    return _faces.check(path.read_bytes(), place)


TASK = FaceRecognition
