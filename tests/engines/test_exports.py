"""Every engine gives the answers of the network it was exported from, at sizes it was not traced with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from bigray import plugins
from bigray.engines.base import Arrays, Program, Session, on_gpu
from tests import networks

SIZES: dict[str, tuple[Callable[[], Program], list[Arrays]]] = {
    "bert": (networks.bert, [networks.words(1, 5), networks.words(5, 31), networks.words(3, 1)]),
    "lstm": (networks.lstm, [networks.words(1, 5), networks.words(5, 31)]),
    "ffnn": (networks.ffnn, [networks.words(1, 5), networks.words(5, 31)]),
    "residual": (networks.residual, [networks.pixels(1), networks.pixels(7)]),
    "speech": (networks.speech, [networks.sound(1, 17), networks.sound(5, 90)]),
    "detector": (networks.detector, [networks.pixels(1, 64), networks.pixels(3, 64)]),
}


def opened(engine: str, build: Callable[[], Program], directory: Path) -> tuple[Program, Session]:
    runtime = plugins.load("bigray.engines", engine).ENGINE
    program = build()
    runtime.export(program, directory)
    return program, runtime.load(directory, threads=1, program=build)


@pytest.mark.parametrize("engine", ["torch_eager", "openvino", "onnxruntime"])
@pytest.mark.parametrize("name", SIZES)
def test_same_answers_at_other_sizes(engine: str, name: str, tmp_path: Path) -> None:
    build, others = SIZES[name]
    program, session = opened(engine, build, tmp_path)
    for inputs in [program.example, *others]:
        expected = networks.answer(program, inputs)
        found = session.run({**inputs, "target": np.zeros(len(next(iter(inputs.values()))))})
        assert tuple(found) == program.outputs
        for key, value in expected.items():
            assert found[key].shape == value.shape
            assert found[key].dtype == value.dtype
            np.testing.assert_allclose(found[key], value, atol=1e-4, rtol=1e-4)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".safetensors", ".onnx", ".xml", ".bin"}
    session.close()


@pytest.mark.parametrize("engine", ["torch_eager", "openvino", "onnxruntime"])
def test_one_session_serves_several_threads(engine: str, tmp_path: Path) -> None:
    program, session = opened(engine, networks.residual, tmp_path)
    batches = [networks.pixels(1 + seed % 3, seed=seed) for seed in range(24)]
    expected = [networks.answer(program, batch)["logits"] for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: session.run(batch)["logits"], batches))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("engine", ["torch_eager", "openvino", "onnxruntime"])
def test_results_outlive_the_next_run_and_inputs_may_be_read_only(engine: str, tmp_path: Path) -> None:
    _, session = opened(engine, networks.ffnn, tmp_path)
    inputs = networks.words(2, 6)
    for array in inputs.values():
        array.flags.writeable = False
    first = session.run(inputs)["logits"]
    kept = first.copy()
    session.run(networks.words(2, 6, seed=5))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_running_needs_no_torch_and_reports_to_no_one(engine: str, tmp_path: Path) -> None:
    opened(engine, networks.ffnn, tmp_path)
    code = f"""
import sys, pathlib, numpy as np
from bigray import plugins
session = plugins.load("bigray.engines", {engine!r}).ENGINE.load(pathlib.Path({str(tmp_path)!r}))
out = session.run({{"input_ids": np.ones((2, 4), np.int64), "attention_mask": np.ones((2, 4), np.int64)}})
assert out["logits"].shape == (2, 3)
loaded = [name for name in ("torch", "ray", "transformers", "nncf", "onnx") if name in sys.modules]
assert not loaded, loaded
assert sys.modules.get("openvino_telemetry") is None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_engine_is_available() -> None:
    for name in plugins.names("bigray.engines"):
        engine = plugins.load("bigray.engines", name).ENGINE
        assert engine.name == name
        assert (engine.available() is None) == (torch.cuda.is_available() or not on_gpu(name))
