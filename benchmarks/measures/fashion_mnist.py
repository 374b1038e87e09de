"""Fashion-MNIST with the textbook network: how far one search goes beyond pruning 80 % of the weights and 8 bits.

The recipe of the TensorFlow Model Optimization Toolkit makes this network 10.8 times smaller as gzip packs it, and 2.9
times faster than its own engine's float32, without loss (836 to 78 kB, 0.038 to 0.013 ms).
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures import rivals
from benchmarks.measures.training import run_recipe, training_minutes
from bigray import plugins
from bigray.predictor import program

NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
INSTALLED = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
"""Where Debian's package dataset-fashion-mnist puts it; the environment may name another folder."""


def run(data: Path | None, work: Path) -> list[Bar]:
    folder = _as_png(INSTALLED, work / "data" / "fashion-mnist")
    recipe, results = run_recipe(
        "fashion_mnist", work, [f"data.train={folder / 'train'}", f"data.test={folder / 'test'}"]
    )
    assert results.dense is not None
    bars = [
        at_least("fashion-mnist: dense accuracy", results.dense.metrics["accuracy"].value, 0.89, ""),
        at_most("fashion-mnist: minutes of training", training_minutes(results), 20, "min"),
    ]
    if results.chosen is None or results.verdict is None or results.verdict.drop_points is None:
        return [*bars, Bar("fashion-mnist: a compressed model qualified", 0.0, 1.0, False, "")]
    pair = rivals.open_run(work / recipe.name)
    plain = pair.export_dense(pair.engine, work / "fashion-mnist-plain")
    speed = {size: rivals.race({"dense": plain, "chosen": pair.chosen}, pair.batch(size)) for size in (1, 8)}
    smaller = packed_bytes(work / "fashion-mnist-plain") / packed_bytes(pair.model_dir)
    for size, found in speed.items():
        floor = _floor(pair, work / "fashion-mnist-floor", size)
        most = found.latency["dense"].p50_ms / floor
        print(
            f"batch {size}: a network that only sums its inputs takes {floor:.4f} ms: {most:.1f}x at most",
            file=sys.stderr,
        )
    return [
        *bars,
        at_most("fashion-mnist: drop, unseen rows", results.verdict.drop_points, 0.5, "points"),
        at_least(f"fashion-mnist: smaller than float32, gzip ({results.chosen.label})", smaller, 30, "x"),
        *(
            at_least(f"fashion-mnist: faster than {pair.engine} float32, batch {size}", ratio, 5, "x")
            for size, found in speed.items()
            for ratio in (found.speedup("dense", "chosen"),)
        ),
    ]


def _floor(pair: rivals.Pair, folder: Path, size: int) -> float:
    """Return the median time in ms of the engine with a network that does nothing but look at all of its inputs."""
    import torch
    from torch import nn

    class Sum(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels.flatten(1).sum(1, keepdim=True)

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    engine = plugins.load("bigray.engines", pair.engine).ENGINE
    engine.export(program(pair.task, Sum()), folder)
    session = engine.load(folder, threads=1)
    return rivals.race({"floor": session}, pair.batch(size)).latency["floor"].p50_ms


def packed_bytes(folder: Path) -> int:
    """Return the size of a folder's files when gzip packs each."""
    return sum(len(gzip.compress(file.read_bytes(), 9)) for file in folder.rglob("*") if file.is_file())


def _as_png(source: Path, target: Path) -> Path:
    """Write the images of the IDX files as PNG, in a folder per class; once."""
    done = target / ".complete"
    if done.exists():
        return target
    if not source.is_dir():
        raise FileNotFoundError(f"There is no {source}. Install Debian's package dataset-fashion-mnist.")
    for part, stem in (("train", "train"), ("test", "t10k")):
        images, labels = _idx(source / f"{stem}-images-idx3-ubyte.gz"), _idx(source / f"{stem}-labels-idx1-ubyte.gz")
        for name in NAMES:
            (target / part / name).mkdir(parents=True, exist_ok=True)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            (target / part / NAMES[label] / f"{number:05}.png").write_bytes(buffer.getvalue())
    done.touch()
    return target


def _idx(path: Path) -> np.ndarray:
    """Read one array of bytes in the form of http://yann.lecun.com/exdb/mnist (magic number, sizes, values)."""
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
