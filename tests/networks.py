"""Tiny networks of every family, as programs ready to export, with seeded weights and inputs."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from bigray.compress.base import Samples
from bigray.engines.base import Arrays, Program
from bigray.tasks.base import Vocabulary

TEXT = {"input_ids": {0: "batch", 1: "length"}, "attention_mask": {0: "batch", 1: "length"}}
VOCABULARY = 60


def task(model_type: str | None = None, field: str = "text") -> Any:
    """What methods ask of a task."""
    contract = SimpleNamespace(field=field)
    return SimpleNamespace(model_type=model_type, contract=contract, graphs={"": None}, positions=None)


def samples(program: Program, count: int = 12, seed: int = 0) -> Samples:
    """Rows for methods that look at some: each holds its own arrays, and a class as target."""
    make: Any = {
        "input_ids": lambda n: words(1, 9, n),
        "features": lambda n: sound(1, 41, n),
        "input_values": lambda n: wave(1, 800, n),
    }
    make = make.get(program.inputs[0], lambda n: pixels(1, program.example[program.inputs[0]].shape[-1], n))
    rows = [{**make(seed + number), "target": np.array([number % 3])} for number in range(count)]

    def encode(chosen: Any) -> Arrays:
        return {name: np.concatenate([row[name] for row in chosen]) for name in (*program.inputs, "target")}

    def loss(outputs: Any, batch: Any, smoothing: float = 0.0) -> torch.Tensor:
        logits = outputs["logits"]
        if logits.dim() == 2:
            return nn.functional.cross_entropy(logits, batch["target"], label_smoothing=smoothing)
        return logits.square().mean()

    sizes = [module.num_embeddings for module in program.network.modules() if isinstance(module, nn.Embedding)]
    known = Vocabulary("input_ids", sizes[0], 3, (0, 1, 3)) if program.inputs[0] == "input_ids" else None
    fake = SimpleNamespace(
        encode=encode, loss=loss, inputs=program.inputs, vocabulary=lambda: known, fits=lambda row: True
    )
    return Samples(fake, rows, rows)  # type: ignore[arg-type]


def answer(program: Program, inputs: Arrays) -> Arrays:
    """Run the program's own network: the truth that engines are held to."""
    tensors = {name: torch.from_numpy(inputs[name].copy()) for name in program.inputs}
    with torch.inference_mode():
        return {name: value.numpy() for name, value in program.forward(program.network.eval(), tensors).items()}


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def words(rows: int, length: int, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    mask = np.ones((rows, length), np.int64)
    mask[0, length - length // 3 :] = 0
    return {"input_ids": rng.integers(1, VOCABULARY, (rows, length)), "attention_mask": mask}


def pixels(rows: int, size: int = 32, seed: int = 0) -> Arrays:
    return {"pixel_values": np.random.default_rng(seed).standard_normal((rows, 3, size, size)).astype(np.float32)}


def sound(rows: int, length: int, seed: int = 0) -> Arrays:
    features = np.random.default_rng(seed).standard_normal((rows, length, 16)).astype(np.float32)
    return {"features": features, "lengths": np.linspace(length, length // 2, rows).astype(np.int64)}


def wave(rows: int, length: int, seed: int = 0) -> Arrays:
    return {"input_values": np.random.default_rng(seed).standard_normal((rows, length)).astype(np.float32)}


def _text(network: nn.Module) -> Program:
    def forward(module: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        return {"logits": module(batch["input_ids"], batch["attention_mask"])}

    return Program(network.eval(), forward, tuple(TEXT), ("logits",), TEXT, words(2, 9))


def bert() -> Program:
    """Two layers, four heads of 8, 64 hidden units in between."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
        num_labels=3,
    )

    def forward(module: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        return {"logits": module(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits}

    network = BertForSequenceClassification(config).eval()
    return Program(network, forward, tuple(TEXT), ("logits",), TEXT, words(2, 9))


def encoder(kind: str, layers: int, vocabulary: int = VOCABULARY) -> Program:
    """A text classifier of transformers: ``bert``, ``roberta`` or ``distilbert``; layers of width 32 that do differ."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 64}
    if kind == "distilbert":
        sizes = {"dim": 32, "n_layers": layers, "n_heads": 4, "hidden_dim": 64}
    config = AutoConfig.for_model(kind, vocab_size=vocabulary, max_position_embeddings=64, num_labels=3, **sizes)
    network = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".layer." in name and parameter.dim() > 1:
                parameter *= 5  # as built, layers hardly change the stream

    def forward(module: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        return {"logits": module(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits}

    return Program(network.eval(), forward, tuple(TEXT), ("logits",), TEXT, words(2, 9))


def vit() -> Program:
    """Four layers over 16 patches."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
    network = ViTForImageClassification(ViTConfig(image_size=32, patch_size=8, num_labels=5, **sizes))
    program = image(network)
    return dataclasses.replace(program, forward=lambda module, batch: {"logits": module(batch["pixel_values"]).logits})


def wav2vec2() -> Program:
    """Two convolutions and four layers over sound."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
    convolutions = {"conv_dim": (16, 16), "conv_stride": (5, 4), "conv_kernel": (10, 8), "num_conv_pos_embeddings": 8}
    network = Wav2Vec2ForCTC(
        Wav2Vec2Config(vocab_size=12, num_conv_pos_embedding_groups=2, **convolutions, **sizes)  # type: ignore[arg-type]
    ).eval()
    values = np.random.default_rng(0).standard_normal((2, 800)).astype(np.float32)
    return Program(
        network,
        lambda module, batch: {"logits": module(batch["input_values"]).logits},
        ("input_values",),
        ("logits",),
        {"input_values": {0: "batch"}},
        {"input_values": values},
    )


def lstm(cell: str = "lstm", depth: int = 1) -> Program:
    from bigray.models import rnn

    torch.manual_seed(0)
    own = {"width": 24, "hidden": 48, "depth": depth, "dropout": 0.0, "cell": cell}
    return _text(rnn.build({"kind": "text", "vocabulary": VOCABULARY, "classes": 3, **own}))


def text_cnn() -> Program:
    from bigray.models import cnn

    torch.manual_seed(0)
    own = {"embedding": 24, "width": 32, "kernels": [2, 3], "dropout": 0.0}
    return _text(cnn.build({"kind": "text", "vocabulary": VOCABULARY, "classes": 3, **own}))


class _Bag(nn.Module):
    """Ignores its second input."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 24)
        self.hidden = nn.Linear(24, 64)
        self.head = nn.Linear(64, 3)

    def forward(self, ids: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.hidden(self.embedding(ids).mean(1))))


def ffnn() -> Program:
    """Has an input that the network does not use."""
    torch.manual_seed(0)
    return _text(_Bag())


def image(network: nn.Module, size: int = 32, outputs: tuple[str, ...] = ("logits",)) -> Program:
    def forward(module: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        found = module(batch["pixel_values"])
        return dict(zip(outputs, found if isinstance(found, tuple) else (found,), strict=True))

    return Program(network.eval(), forward, ("pixel_values",), outputs, {"pixel_values": {0: "batch"}}, pixels(2, size))


def residual() -> Program:
    """Residual blocks with batch norm, whose statistics are not the ones they start with."""
    from bigray.models import cnn

    torch.manual_seed(0)
    own = {"width": 16, "depth": 1, "stages": 2, "dropout": 0.0}
    network = cnn.build({"kind": "image", "image_size": 32, "classes": 5, **own})
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return image(network)


class _Speech(nn.Module):
    """Masked convolutions over time; depthwise, with a shortcut; two outputs, one of them whole numbers."""

    classes: ClassVar[int] = 8

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(16, 32, 5, 2, 2)
        self.norm = nn.BatchNorm1d(32)
        self.depthwise = nn.Conv1d(32, 32, 5, 1, 2, groups=32)
        self.pointwise = nn.Conv1d(32, 32, 1)
        self.head = nn.Conv1d(32, self.classes, 1)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        steps = (lengths - 1) // 2 + 1
        x = torch.relu(self.norm(self.first(features.transpose(1, 2))))
        mask = (torch.arange(x.shape[2])[None, :] < steps[:, None])[:, None, :].to(x.dtype)
        x = x * mask
        x = x + torch.relu(self.pointwise(self.depthwise(x))) * mask
        return self.head(x).transpose(1, 2), steps


def speech() -> Program:
    torch.manual_seed(0)

    def forward(module: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        return dict(zip(("logits", "steps"), module(batch["features"], batch["lengths"]), strict=True))

    dynamic = {"features": {0: "batch", 1: "time"}, "lengths": {0: "batch"}}
    return Program(_Speech().eval(), forward, ("features", "lengths"), ("logits", "steps"), dynamic, sound(2, 41))


def detector(trunk: str = "small") -> Program:
    from bigray.models import detector as fcos

    torch.manual_seed(0)
    own = {"trunk": trunk, "trunk_width": 8, "width": 32, "depth": 1}
    return image(fcos.build({"kind": "image", "classes": 3, **own}), 64, ("logits", "distances", "centerness"))
