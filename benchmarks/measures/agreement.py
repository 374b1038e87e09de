"""Do the trained network, its artifact and the endpoint give the same answers, and is the replica free of torch?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx
import numpy as np
import torch
from torch import nn

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.training import RECIPES
from bigray import pipeline
from bigray import recipe as recipes
from bigray.artifact import Artifact
from bigray.client import Client
from bigray.cluster import cluster
from bigray.data import sources
from bigray.engines.base import Session
from bigray.models.base import build
from bigray.predictor import Predictor, open_artifact
from bigray.progress import Display
from bigray.schemas import Label
from bigray.tasks.base import Task
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
    dense = next(run_folder.glob("train-*/dense"))
    predictor = open_artifact(dense)
    network = build(Artifact.open(dense).manifest.architecture, pretrained=False)
    best = max(path for path in run_folder.glob("train-*/ray_train/checkpoint_*") if path.is_dir())
    checkpoint.load(best, network)
    network.eval()
    session = _Trained(predictor.task, network)
    return [Predictor(predictor.task, session).predict([row])[0] for row in rows]


class _Trained(Session):
    """The network as training left it, never exported."""

    def __init__(self, task: Task, network: nn.Module) -> None:
        self._task, self._network = task, network

    def run(self, inputs: Mapping[str, np.ndarray], part: str = "") -> dict[str, np.ndarray]:
        with torch.inference_mode():
            batch = {name: torch.from_numpy(inputs[name]) for name in self._task.inputs}
            return {name: value.numpy() for name, value in self._task.forward(self._network, batch).items()}


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
