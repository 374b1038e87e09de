"""Do the trained network, its artifact and the endpoint give the same answers, and is the replica free of torch?"""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.training import RECIPES
from bigray import pipeline
from bigray import recipe as recipes
from bigray.artifact import Artifact
from bigray.client import Client
from bigray.cluster import cluster
from bigray.data import sources
from bigray.models.base import build
from bigray.predictor import open_artifact
from bigray.progress import Display
from bigray.schemas import Label
from bigray.train import checkpoint

ROWS = 200


def run(data: Path, work: Path) -> list[Bar]:
    folder = data / "text_classification" / "sst2"
    recipe = recipes.read(
        RECIPES / "agreement.yaml",
        [f"output={work}", f"data.train={folder / 'train.tsv'}", f"data.test={folder / 'dev.tsv'}"],
    )
    with cluster():
        with Display() as display:
            pipeline.run(recipe, display)
        run_folder = work / recipe.name
        dense, chosen = next(run_folder.glob("train-*/dense")), run_folder / "artifact"
        splits = sources.load(recipe.data, pipeline.task_class(recipe), recipe.seed)
        rows = sources.take(splits.test, ROWS)
        trained = _trained_scores(run_folder, rows)
        served = {name: _served(folder, name, rows) for name, folder in (("dense", dense), ("chosen", chosen))}
    local = {"dense": _local(dense, rows), "chosen": _local(chosen, rows)}
    return [
        at_most(
            "dense: trained network against endpoint, largest difference", _gap(trained, served["dense"][0]), 1e-5, ""
        ),
        at_most(
            "dense: artifact against endpoint, largest difference", _gap(local["dense"], served["dense"][0]), 1e-5, ""
        ),
        at_least("dense: same labels of 200", _same(trained, served["dense"][0]), ROWS, ""),
        at_least(
            "chosen: artifact and endpoint give the same label of 200",
            _same(local["chosen"], served["chosen"][0]),
            ROWS,
            "",
        ),
        at_most(
            f"text replica on {served['chosen'][1]['engine']}: torch imported",
            served["chosen"][1]["process"]["torch_imported"],
            0,
            "",
        ),
    ]


def _trained_scores(run_folder: Path, rows: list[dict[str, str]]) -> list[list[Label]]:
    import torch

    dense = next(run_folder.glob("train-*/dense"))
    predictor = open_artifact(dense)
    network = build(Artifact.open(dense).manifest.architecture, pretrained=False)
    best = max(path for path in run_folder.glob("train-*/ray_train/checkpoint_*") if path.is_dir())
    checkpoint.load(best, network)
    network.eval()
    found = []
    for row in rows:
        batch = predictor.task.encode([row])
        with torch.inference_mode():
            outputs = predictor.task.forward(network, {k: torch.from_numpy(batch[k]) for k in predictor.task.inputs})
        found += predictor.task.decode({name: value.numpy() for name, value in outputs.items()}, batch)
    return found


def _local(folder: Path, rows: list[dict[str, str]]) -> list[list[Label]]:
    predictor = open_artifact(folder)
    return [predictor.predict([row])[0] for row in rows]


def _served(folder: Path, name: str, rows: list[dict[str, str]]):  # type: ignore[no-untyped-def]
    from bigray.serve import config
    from bigray.serve.listen import Listen

    url = config.deploy(folder, name, listen=Listen(port=8766))
    with Client(config.base_url(), timeout_s=60) as client:
        answers = [client.text_classification(row["text"], model=name) for row in rows]
    return answers, httpx.get(url, timeout=10).json()


def _gap(one: list[list[Label]], other: list[list[Label]]) -> float:
    pairs = zip(one, other, strict=True)
    gaps = [abs(_scores(a)[label] - score) for a, b in pairs for label, score in _scores(b).items()]
    return float(np.max(gaps))


def _scores(answer: list[Label]) -> dict[str, float]:
    return {label.label: label.score for label in answer}


def _same(one: list[list[Label]], other: list[list[Label]]) -> int:
    return sum(a[0].label == b[0].label for a, b in zip(one, other, strict=True))
