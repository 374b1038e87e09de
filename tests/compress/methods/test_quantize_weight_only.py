"""Weights stored in fewer bits: small files, near answers, and nothing that passes in silence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bigray import plugins
from bigray.compress.base import ConversionError
from bigray.compress.methods import _graphs, _onnx_storage
from bigray.compress.methods.quantize_weight_only import METHOD, Config
from bigray.engines.base import Program
from tests import networks


def _bert() -> Program:
    return networks.encoder("bert", 1, 300)


def stored(build: Callable[[], Program], engine: str, directory: Path, **knobs: Any) -> tuple[float, float]:
    """Return the weights' bytes over before, and the largest error over the largest answer."""
    runtime = plugins.load("bigray.engines", engine).ENGINE
    program = build()
    if not list(directory.iterdir()):
        runtime.export(program, directory)
    before = _graphs.weight_bytes(directory)
    METHOD.rewrite(directory, engine, Config(**knobs), iter([]), networks.task())
    inputs = networks.pixels(4, seed=9) if "pixel_values" in program.inputs else networks.words(4, 12, 9)
    expected = networks.answer(program, inputs)["logits"]
    found = runtime.load(directory).run(inputs)["logits"]
    assert found.dtype == np.float32
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    return _graphs.weight_bytes(directory) / before, error


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_transformers_shrink_to_their_bits(engine: str, tmp_path: Path) -> None:
    dense = tmp_path / "dense"
    dense.mkdir()
    plugins.load("bigray.engines", engine).ENGINE.export(_bert(), dense)
    for bits, share, most in ((16, 0.55, 0.01), (8, 0.4, 0.1), (4, 0.35, 0.6)):
        folder = Path(shutil.copytree(dense, tmp_path / str(bits)))
        size, error = stored(_bert, engine, folder, bits=bits, group_size=32)
        assert size < share
        assert 0 < error < most
        if engine == "openvino":
            types = _graphs.openvino_types(folder)
            assert types[{16: "Constant:f16", 8: "Constant:i8", 4: "Constant:i4"}[bits]] >= 5
        elif bits == 4:
            assert _graphs.onnx_types(folder)["MatMulNBits"] >= 5


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_convolutions_shrink(engine: str, tmp_path: Path) -> None:
    size, error = stored(networks.residual, engine, tmp_path)
    assert size < 0.4
    assert 0 < error < 0.05


def test_recurrent_layers_shrink_on_onnxruntime(tmp_path: Path) -> None:
    size, error = stored(networks.lstm, "onnxruntime", tmp_path)
    assert size < 0.35
    assert 0 < error < 0.05
    kinds = [one.data_type for one in onnx.load(tmp_path / "model.onnx").graph.initializer]
    assert kinds.count(onnx.TensorProto.INT8) == 3  # the embedding, and the two weights of the cell


def test_four_bits_need_matrix_products(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="no matrix product"):
        stored(networks.residual, "onnxruntime", tmp_path, bits=4)


def test_each_channel_has_its_own_scale() -> None:
    value = np.array([[1.0, -0.5, 0.0], [100.0, 50.0, -100.0], [0.0, 0.0, 0.0]], np.float32)
    whole, scale = _onnx_storage.quantized(value, 0)
    assert scale.shape == (3, 1)
    np.testing.assert_allclose(whole * scale, value, atol=0.5)
    np.testing.assert_array_equal(whole[0], [127, -64, 0])
    np.testing.assert_array_equal(whole[2], 0)


def test_what_suits() -> None:
    assert METHOD.suits(networks.task(), "openvino") is None
    assert METHOD.suits(networks.task(field="image"), "onnxruntime") is None
    assert "torch_eager" in (METHOD.suits(networks.task(), "torch_eager") or "")
