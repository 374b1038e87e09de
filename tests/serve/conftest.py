"""Small real artifacts, one per task, with networks of random weights; and one Serve instance that serves them."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigray import artifact, plugins
from bigray.models.base import build
from bigray.predictor import program
from bigray.recipe import Data, Model, Serve
from bigray.serve.replica import Replica

SETTINGS = {"max_replicas": 1, "cpus": 0.25, "timeout_s": 20, "max_body_bytes": 1_000_000}
NAMES = {
    "text_classification": "texts",
    "question_answering": "questions",
    "translation": "phrases",
    "summarization": "reports",
    "image_classification": "images",
    "object_detection": "objects",
    "automatic_speech_recognition": "speech",
    "text_to_speech": "readings",
    "speaker_recognition": "voices",
    "face_recognition": "faces",
}
ENGINES = {"text_classification": "onnxruntime"}
MODELS: dict[str, dict[str, Any]] = {
    "text_classification": {"name": "ffnn"},
    "translation": {"options": {"width": 32, "depth": 1}, "input": {"max_target": 12}},
    "summarization": {"options": {"width": 32, "depth": 1}, "input": {"max_target": 12}},
    "image_classification": {"input": {"image_size": 32}},
    "object_detection": {"input": {"image_size": 64}},
    "text_to_speech": {
        "options": {"width": 32, "encoder_depth": 1, "decoder_depth": 1},
        "input": {"vocoder_rounds": 2},
    },
    "speaker_recognition": {"input": {"window_s": 1.0}},
    "face_recognition": {"input": {"image_size": 32}},
}


def rows_for(task: Any) -> list[dict[str, Any]]:
    """Training rows enough to learn labels and a vocabulary from."""
    if task.name == "text_classification":
        words = ("good fine bright", "bad dull poor", "neither here nor there")
        return [{"text": f"{words[i % 3]} film {i}", "label": "abc"[i % 3]} for i in range(30)]
    if task.name == "question_answering":
        contexts = [f"Ada number {i} came home at nine." for i in range(30)]
        return [{"question": "When?", "context": text, "answers": [{"text": "nine", "start": -1}]} for text in contexts]
    if task.name in ("translation", "summarization"):
        return [{"text": f"a small film number {i}.", task.target: f"ein kleiner Film {i}."} for i in range(30)]
    rows = []
    for i in range(12):
        extra = {"label": "abc"[i % 3], "text": "a small word", "labels": ["cat"], "boxes": [[1.0, 2.0, 9.0, 8.0]]}
        extra |= {"speaker": "abc"[i % 3], "identity": "abc"[i % 3]}
        rows.append({field: extra[field] for field in task.fields if field in extra})
    return rows


def make_artifact(task_name: str, folder: Path) -> Path:
    """Write the artifact of an untrained network."""
    import torch

    torch.manual_seed(0)
    kind = importlib.import_module(f"bigray.tasks.{task_name}").TASK
    model = Model(**MODELS.get(task_name, {}))
    task = kind.prepare(Data(train="rows"), model, rows_for(kind))
    architecture = task.architecture(model)
    network = build(architecture, pretrained=False).eval()
    engine = ENGINES.get(task_name, "openvino")
    with artifact.create(folder) as draft:
        task.save(draft.task_dir)
        plugins.load("bigray.engines", engine).ENGINE.export(program(task, network), draft.model_dir)
        manifest = artifact.Manifest(
            name=NAMES[task_name],
            created=artifact.now(),
            task=task_name,
            architecture=architecture,
            engine=engine,
            recipe={"serve": SETTINGS},
        )
        draft.commit(manifest)
    return folder


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Task -> artifact folder, for every task there is."""
    folder = tmp_path_factory.mktemp("artifacts")
    return {task: make_artifact(task, folder / task) for task in NAMES if task in plugins.names("bigray.tasks")}


@pytest.fixture(scope="session")
def text_artifact(artifacts: dict[str, Path]) -> Path:
    return artifacts["text_classification"]


@pytest.fixture(scope="session")
def settings() -> Serve:
    return Serve(**SETTINGS)


@pytest.fixture(scope="session")
def replicas(artifacts: dict[str, Path], settings: Serve) -> dict[str, Replica]:
    """Name -> replica of every task's model, without Ray."""
    return {name: Replica.open(str(artifacts[task]), name, settings) for task, name in NAMES.items()}


@pytest.fixture(scope="session")
def sound() -> bytes:
    """Half a second of a tone, as a WAV file."""
    from bigray.tasks._speech import encode_wav

    return encode_wav(np.sin(np.arange(8000) * 0.2).astype(np.float32), 16_000)


@pytest.fixture(scope="package")
def service(request: pytest.FixtureRequest, artifacts: dict[str, Path]) -> Iterator[str]:
    """Base URL of a service with every task's model: behind Serve's own proxy, or HAProxy if ``BIGRAY_TEST_HAPROXY`` is 1."""
    models = {NAMES[task]: folder for task, folder in artifacts.items()}
    if os.environ.get("BIGRAY_TEST_HAPROXY") == "1":
        yield from _behind_haproxy(models)
    else:
        request.getfixturevalue("ray_cluster")
        yield from _behind_serves_own_proxy(models)


def _behind_serves_own_proxy(models: dict[str, Path]) -> Iterator[str]:
    from ray import serve

    from bigray.serve import config
    from bigray.serve.listen import Listen

    try:
        urls = config.deploy_all(models, listen=Listen(port=_free_port()))
        yield urls["texts"].removesuffix("/models/texts")
    finally:
        serve.shutdown()


def _behind_haproxy(models: dict[str, Path]) -> Iterator[str]:
    """Serve as `bigray up` does by default, in processes of their own."""
    from bigray import background

    deploy = (
        "from bigray import background; background.join(); from bigray.cluster import cluster; from bigray.serve import config\n"
        f"with cluster(): config.deploy_all({ {name: str(folder) for name, folder in models.items()}!r})"
    )
    port = _free_port()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as state:
        patch.setenv("XDG_STATE_HOME", state)
        patch.delenv("RAY_AUTH_MODE", raising=False)
        try:
            for words in (["-m", "bigray.cli.main", "up", "--port", str(port)], ["-c", deploy]):
                told = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=600)
                assert told.returncode == 0, told.stdout + told.stderr
            yield f"http://127.0.0.1:{port}"
        finally:
            if background.running() is not None:
                background.stop()


@pytest.fixture
def free_port() -> int:
    """A port of this machine that nobody listens on."""
    return _free_port()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
