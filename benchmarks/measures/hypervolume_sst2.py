"""`hypervolume` on MiniLM, trained on SST-2: layers dropped, the others narrowed, 8 bits of two kinds."""

from __future__ import annotations

from pathlib import Path

from benchmarks.form import Bar
from benchmarks.measures import hypervolume, training
from bigray import recipe as recipes

GRID = (
    "compress.methods=[{name: drop_layers, knobs: {keep: [0.5, 0.65, 0.85], which: top}}, "
    "{name: prune_structured, knobs: {ratio: [0.15, 0.3, 0.45], importance: magnitude}}, "
    "{name: quantize_static, knobs: {preset: mixed}}, {name: quantize_dynamic, knobs: {group_size: 128}}]",
    "compress.engines=[openvino]",
    "compress.recover_epochs=0.05",
    "compress.batch_sizes=[1]",
    "compress.evaluation_rows=1000",
    "compress.sensitivity_rows=0",
)


def run(data: Path, work: Path) -> list[Bar]:
    folder = data / "text_classification" / "sst2"
    given = [f"output={work / 'grid'}", f"data.train={folder / 'train.tsv'}", f"data.test={folder / 'dev.tsv'}", *GRID]
    return hypervolume.bars("SST-2", recipes.read(training.RECIPES / "sst2.yaml", given))
