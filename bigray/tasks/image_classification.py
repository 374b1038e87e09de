"""Image classification: an image in, a score for each label out.

Networks: any transformers image classifier (ViT, ResNet, ...) by hub name, package or local folder; torchvision's
classifiers by name (``resnet18``, ``mobilenet_v2``, ``efficientnet_b0``, ...); or bigray's own residual ``cnn`` or classic
``lenet``. Images are resized to a square, without regard to their aspect, however large they are: a class is said of the
whole image, and tiles of it would be classified by their background. Wire form:
https://huggingface.co/docs/inference-providers/tasks/image-classification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from bigray import metrics
from bigray.errors import RecipeError
from bigray.models.base import Architecture, own_architecture, own_options
from bigray.recipe import Data, Model
from bigray.schemas import ClassificationParameters, Label, Wire
from bigray.tasks import _vision, base
from bigray.tasks._labels import check_labels, label_scores, targets
from bigray.tasks.base import Batch, Metric, Row

if TYPE_CHECKING:
    import torch
    from torch import nn

TOP_K = 5
"""Labels in an answer unless ``top_k`` says otherwise; the Hugging Face default."""
LARGE = 224
"""Side in pixels that images are resized to, unless they are tiny."""
TINY = 96
"""Images whose shorter side has a median of at most this many pixels are not enlarged to `LARGE`."""


class ImageClassification(base.Task):
    """See the module's text. Targets: ``target`` (N,) int64, the index of the label."""

    name = "image_classification"
    fields: ClassVar[Mapping[str, str]] = {"image": "the bytes of an image file", "label": "its class"}
    primary = Metric("accuracy")
    inputs = ("pixel_values",)
    outputs = ("logits",)
    dynamic: ClassVar[Mapping[str, Mapping[int, str]]] = {"pixel_values": {0: "batch"}}
    defaults: ClassVar[Mapping[str, Any]] = {"train": {"epochs": 10, "batch_size": 64, "learning_rate": 2e-3}}

    class State(base.State):
        """Labels and what the network's pixels are."""

        labels: tuple[str, ...]
        image_size: int = Field(LARGE, ge=8, le=1024)
        """Side of the square, in pixels."""
        mean: tuple[float, float, float] = _vision.IMAGENET_MEAN
        """Of red, green and blue, subtracted from pixels from 0 to 1."""
        std: tuple[float, float, float] = _vision.IMAGENET_STD
        """Divides the difference."""
        transformer: bool = False
        """Whether the network is one: quantizers treat attention with care."""

    state: State

    @property
    def model_type(self) -> str | None:  # type: ignore[override]
        """``transformer`` for those of the transformers library that have attention."""
        return "transformer" if self.state.transformer else None

    @classmethod
    def prepare(cls, data: Data, model: Model, rows: Sequence[Row]) -> Self:
        """Learn the labels; take the size from the pretrained model, else from the images."""
        labels = check_labels(data.labels, rows)
        known = {"image_size": LARGE}
        learned: dict[str, Any] = {}
        if model.source == "transformers":
            learned = _processor(model.name)
        elif model.source == "bigray":
            learned = {"image_size": _vision.usual_side(rows, LARGE, TINY)}
        learned |= own_options(model.input, known, "model.input") if model.input else {}
        if not 8 <= learned.get("image_size", LARGE) <= 1024:
            raise RecipeError(
                f"model.input.image_size: must be 8 to 1024 pixels (got {learned['image_size']}).",
                pointer="model.input.image_size",
            )
        return cls(cls.State(labels=labels, **learned))

    def architecture(self, model: Model) -> Architecture:
        """A classifier of transformers or torchvision with a new head, or bigray's own residual network."""
        if model.source == "transformers":
            from bigray.models import pretrained

            return pretrained.classifier("AutoModelForImageClassification", model, self.state.labels)
        classes = len(self.state.labels)
        if model.source == "torchvision":
            options = {**model.options, "num_classes": classes}
            return Architecture(source="torchvision", name=model.name, options=options, weights=model.weights)
        dims = {"kind": "image", "image_size": self.state.image_size, "classes": classes}
        return own_architecture(model, dims, default="cnn", known=("cnn", "lenet"), task=self.name)

    def encode(self, rows: Sequence[Row]) -> Batch:
        """Return ``pixel_values`` (N, 3, S, S) float32."""
        side = self.state.image_size
        images = [_vision.resize(_vision.decode_image(row["image"]), side, side) for row in rows]
        batch = {"pixel_values": _vision.to_pixels(images, self.state.mean, self.state.std)}
        return batch | targets(rows, self.state.labels)

    def forward(self, network: nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``logits`` (N, C)."""
        output = network(batch["pixel_values"])
        return {"logits": output.logits if hasattr(output, "logits") else output}

    def loss(
        self, outputs: Mapping[str, torch.Tensor], batch: Mapping[str, torch.Tensor], smoothing: float = 0.0
    ) -> torch.Tensor:
        """Cross-entropy."""
        from torch.nn import functional

        return functional.cross_entropy(outputs["logits"], batch["target"], label_smoothing=smoothing)

    def decode(self, outputs: Batch, batch: Batch, parameters: Wire | None = None) -> list[list[Label]]:
        """Return each image's labels, best first; `TOP_K` of them unless asked otherwise."""
        wanted = parameters if isinstance(parameters, ClassificationParameters) else ClassificationParameters()
        return label_scores(outputs["logits"], self.state.labels, wanted, top_k=TOP_K)

    def score(self, answers: Sequence[list[Label]], rows: Sequence[Row]) -> dict[str, float]:
        """Accuracy and macro F1."""
        return metrics.classification([answer[0].label for answer in answers], [row["label"] for row in rows])

    def example(self, count: int, size: int | None = None) -> list[Row]:
        """JPEG files of ``size`` x ``size`` pixels (by default the network's own size)."""
        side = size or self.state.image_size
        return [{"image": _vision.sample_image(side, side, number)} for number in range(count)]

    def keep(self, network: nn.Module) -> list[str]:
        """The layer that makes the logits: the last one with as many outputs as there are labels."""
        heads = [
            name
            for name, module in network.named_modules()
            if len(self.state.labels) in (getattr(module, "out_features", None), getattr(module, "out_channels", None))
        ]
        return heads[-1:]


def _processor(name: str) -> dict[str, Any]:
    """Return size, mean and deviation that a transformers checkpoint was trained with."""
    import json
    from pathlib import Path

    from bigray.models import pretrained

    config = pretrained.configuration(name)
    learned: dict[str, Any] = {"transformer": "num_attention_heads" in config}
    if isinstance(config.get("image_size"), int):
        learned["image_size"] = config["image_size"]
    settings = Path(pretrained.locate(name)) / "preprocessor_config.json"
    if settings.is_file():
        found = json.loads(settings.read_text(encoding="utf-8"))
        for own, theirs in (("mean", "image_mean"), ("std", "image_std")):
            if len(found.get(theirs) or ()) == 3:
                learned[own] = tuple(found[theirs])
    return learned


TASK = ImageClassification
