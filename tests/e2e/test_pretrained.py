"""Pretrained networks all the way: a checkpoint's folder, training, search, verification, artifact, endpoint."""

import socket
from pathlib import Path

import numpy as np
import pytest

from bigray import pipeline
from bigray import recipe as recipes
from bigray.client import Client
from bigray.data import sources
from bigray.predictor import open_artifact
from bigray.schemas import CONTRACTS
from bigray.serve import config
from bigray.serve.listen import Listen
from tests import checkpoints

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

FAMILIES = {
    "yolos": ("object_detection.tiny", {"image_size": 96}, lambda folder: checkpoints.detector(folder, "yolos")),
    "rt_detr": ("object_detection.tiny", {"image_size": 64}, lambda folder: checkpoints.detector(folder, "rt_detr")),
    "wav2vec2": ("automatic_speech_recognition.tiny", {}, checkpoints.wav2vec2),
}


@pytest.fixture
def port(ray_cluster):
    from ray import serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    yield number
    serve.shutdown()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_becomes_an_endpoint_that_answers_as_its_artifact(family: str, port: int, tmp_path: Path) -> None:
    base, sizes, make = FAMILIES[family]
    recipe = recipes.read(
        base,
        [
            f"output={tmp_path}",
            f"model={{source: transformers, name: {make(tmp_path / 'hub')}, input: {sizes}}}",
            "data.limit=64",
            "data.augment=[]",
            "train={epochs: 2, batch_size: 8}",
            # networks this small, hardly trained, have no quality to lose; that is not what this is about
            "compress={max_drop: 100, methods: [quantize_static], engines: [openvino], trials: 2, recover_epochs: 0}",
        ],
    )
    results = pipeline.run(recipe)
    assert results.verdict is not None
    assert results.verdict.qualified
    artifact = tmp_path / recipe.name / "artifact"
    task = open_artifact(artifact)
    contract = CONTRACTS[recipe.task]
    test = sources.load(recipe.data, pipeline.task_class(recipe), recipe.seed).test
    inputs = [row[contract.field] for row in sources.take(test, 3, recipe.seed)]
    here = [contract.output.dump_python(answer) for answer in task.predict([{contract.field: one} for one in inputs])]
    config.deploy_all({"guest": artifact}, listen=Listen(port=port))
    with Client(config.base_url(), timeout_s=60) as client:
        there = [contract.output.dump_python(client.predict(recipe.task, one, model="guest")) for one in inputs]
    assert _numbers(there) == pytest.approx(_numbers(here), abs=1e-4)
    assert _words(there) == _words(here)


def _leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in _leaves(value[key])]
    if isinstance(value, list | tuple):
        return [leaf for one in value for leaf in _leaves(one)]
    return [value]


def _numbers(value: object) -> list[float]:
    return [leaf for leaf in _leaves(value) if isinstance(leaf, float | int | np.number)]


def _words(value: object) -> list[object]:
    return [leaf for leaf in _leaves(value) if isinstance(leaf, str)]
