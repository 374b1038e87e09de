"""Versions of one small model, for measures of what happens when versions change: a sentiment classifier trained here on
the rated sentences of the catalogue, and others made of it that are truly as good, worse, slower or broken.
"""

from __future__ import annotations

import copy
import math
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bigray import artifact, plugins
from bigray.data.catalogue.rated_sentences import RatedSentences
from bigray.models.base import Architecture, build
from bigray.predictor import open_artifact, program
from bigray.recipe import Data, Model
from bigray.tasks.base import Task
from bigray.tasks.text_classification import TASK

ROWS, HELD_OUT, EPOCHS, BATCH = 6000, 1500, 3, 32
SERVE = {"min_replicas": 1, "max_replicas": 1, "cpus": 1, "timeout_s": 20}
OPTIONS = {"embedding": 128, "width": 256}
LOST_POINTS = 10.0
OVERHEAD_MS = 4.0
"""About what a replica adds to the model's own time; three times slower means three times both."""


@dataclass
class Trained:
    """A trained network, and rows that it has not seen."""

    task: Task
    architecture: Architecture
    network: nn.Module
    rows: list[dict[str, str]]

    def labels(self, network: nn.Module) -> list[str]:
        """Return the label that a network gives to each held-out row."""
        names, found = self.task.state.labels, []  # type: ignore[attr-defined]
        for start in range(0, len(self.rows), 256):
            batch = self.task.encode(self.rows[start : start + 256])
            with torch.inference_mode():
                logits = self.task.forward(network, _tensors(self.task, batch))["logits"]
            found += [names[index] for index in logits.argmax(1).tolist()]
        return found

    def accuracy(self, network: nn.Module) -> float:
        """Return the share of held-out rows that a network gets right."""
        return right(self.labels(network), self.rows)

    def write(self, folder: Path, network: nn.Module) -> Path:
        """Export a network as an artifact."""
        with artifact.create(folder) as draft:
            self.task.save(draft.task_dir)
            engine = plugins.load("bigray.engines", "onnxruntime").ENGINE
            engine.export(program(self.task, network.eval()), draft.model_dir)
            draft.commit(
                artifact.Manifest(
                    name=folder.name,
                    created=artifact.now(),
                    task=self.task.name,
                    architecture=self.architecture,
                    engine="onnxruntime",
                    recipe={"serve": SERVE},
                )
            )
        return folder


def train() -> Trained:
    """Train on real sentences, from nothing; seconds of one core."""
    torch.manual_seed(0)
    rows: list[dict[str, str]] = [
        {"text": row["text"], "label": row["label"]}
        for row in RatedSentences().rows()  # type: ignore[misc]
    ]
    random.Random(0).shuffle(rows)
    held_out, rows = rows[:HELD_OUT], rows[HELD_OUT : HELD_OUT + ROWS]
    model = Model(source="bigray", name="cnn", options=OPTIONS)
    task = TASK.prepare(Data(train="rows"), model, rows)
    architecture = task.architecture(model)
    network = build(architecture, pretrained=False).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(EPOCHS):
        random.shuffle(rows)
        for start in range(0, len(rows), BATCH):
            batch = task.encode(rows[start : start + BATCH])
            tensors = _tensors(task, batch)
            loss = task.loss(task.forward(network, tensors), tensors)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Trained(task, architecture, network.eval(), held_out)


def rounded(trained: Trained) -> nn.Module:
    """As good: every weight matrix in 8 bits, one scale per row."""
    network = copy.deepcopy(trained.network)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() > 1:
                scale = weight.flatten(1).abs().amax(1).clamp(min=1e-9).view(-1, *[1] * (weight.dim() - 1)) / 127
                weight.copy_((weight / scale).round() * scale)
    return network


def worse(trained: Trained) -> nn.Module:
    """Noise on the weights, as much as loses 10 points of accuracy on held-out rows."""
    dense = trained.accuracy(trained.network)
    low, high, best = 0.0, 4.0, trained.network
    for _ in range(12):
        amount = (low + high) / 2
        best = _disturbed(trained.network, amount)
        lost = 100 * (dense - trained.accuracy(best))
        if abs(lost - LOST_POINTS) < 0.5:
            break
        low, high = (amount, high) if lost < LOST_POINTS else (low, amount)
    return best


def slower(trained: Trained, folder: Path) -> nn.Module:
    """The mean of many networks that hardly differ: the same answers for many times the work."""
    own_ms = _p50_ms(folder)
    count = max(3, math.ceil(3 * (own_ms + OVERHEAD_MS) / own_ms))
    return Ensemble([_disturbed(trained.network, 0.02, seed) for seed in range(count)])


def failing(trained: Trained) -> nn.Module:
    """Fails on about a third of real texts: its table of words ends behind the last word of the warm-up texts."""
    network = copy.deepcopy(trained.network)
    ids = {
        int(i)
        for size in (4, None, 100)
        for i in trained.task.encode(trained.task.example(3, size))["input_ids"].ravel()
    }
    table = network.embedding
    short = nn.Embedding(max(ids) + 1, table.embedding_dim, padding_idx=0)  # type: ignore[union-attr, arg-type]
    with torch.no_grad():
        short.weight.copy_(table.weight[: max(ids) + 1])  # type: ignore[union-attr, index]
    network.embedding = short
    return network


def broken(good: Path, folder: Path) -> Path:
    """Write an artifact whose digests are right and whose graph is cut off: it cannot be loaded."""
    opened = artifact.Artifact.open(good)
    with artifact.create(folder) as draft:
        for part, source in ((draft.task_dir, opened.task_dir), (draft.model_dir, opened.model_dir)):
            for file in source.iterdir():
                content = file.read_bytes()
                (part / file.name).write_bytes(content[: len(content) // 2] if file.suffix == ".onnx" else content)
        draft.commit(opened.manifest.model_copy(update={"name": folder.name}))
    return folder


def right(labels: Sequence[str], rows: Sequence[dict[str, str]]) -> float:
    """Return the share of labels that are the rows' own."""
    return statistics.mean(label == row["label"] for label, row in zip(labels, rows, strict=True))


class Ensemble(nn.Module):
    """The mean of several networks' logits."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """As its members."""
        return torch.stack([member(input_ids, attention_mask) for member in self.members]).mean(0)


def _disturbed(network: nn.Module, amount: float, seed: int = 0) -> nn.Module:
    """Return a copy with Gaussian noise on each tensor, of ``amount`` times that tensor's own deviation."""
    generator = torch.Generator().manual_seed(seed)
    other = copy.deepcopy(network)
    with torch.no_grad():
        for weight in other.parameters():
            if weight.numel() > 1:
                weight += amount * weight.std() * torch.randn(weight.shape, generator=generator)
    return other


def _tensors(task: Task, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(batch[name]) for name in (*task.inputs, "target")}


def _p50_ms(folder: Path) -> float:
    predictor = open_artifact(folder)
    rows, times = predictor.task.example(1), []
    for _ in range(30):
        began = time.perf_counter()
        predictor.predict(rows)
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)
