"""What is particular to OpenVINO: settings stored with a graph, fixed sizes, and telemetry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from bigray.engines import openvino as engine
from tests import networks


def test_graphs_keep_float32_and_the_sizes_that_never_vary(tmp_path: Path) -> None:
    program = networks.residual()
    engine.ENGINE.export(program, tmp_path)
    model = engine.core().read_model(tmp_path / engine.GRAPH)
    assert str(model.input("pixel_values").get_partial_shape()) == "[?,3,32,32]"
    assert model.output("logits").get_element_type().get_type_name() == "f32"
    weights = 4 * networks.parameters(program.network)
    assert 0.9 * weights < (tmp_path / engine.WEIGHTS).stat().st_size < 1.2 * weights


def test_settings_are_merged_and_foreign_ones_are_not_read(tmp_path: Path) -> None:
    assert engine.read_hints(tmp_path) == {}
    engine.write_hints(tmp_path, INFERENCE_PRECISION_HINT="bf16")
    engine.write_hints(tmp_path, DYNAMIC_QUANTIZATION_GROUP_SIZE="64")
    expected = {"INFERENCE_PRECISION_HINT": "bf16", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "64"}
    assert engine.read_hints(tmp_path) == expected
    (tmp_path / engine.HINTS).write_text('{"CACHE_DIR": "/tmp/elsewhere"}')
    assert engine.read_hints(tmp_path) == {}


def test_the_session_computes_in_float32_on_the_asked_threads(tmp_path: Path) -> None:
    engine.ENGINE.export(networks.ffnn(), tmp_path)
    session = engine.ENGINE.load(tmp_path, threads=1)
    compiled = session._compiled  # type: ignore[attr-defined]
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("NUM_STREAMS") == 1
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    assert compiled.get_property("ENABLE_CPU_PINNING") is False


def test_a_batch_of_one_has_a_graph_of_its_own_and_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.ENGINE.export(networks.residual(), tmp_path)
    session = engine.ENGINE.load(tmp_path)
    assert session._single is not None  # type: ignore[attr-defined]
    pixels = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    whole = session.run({"pixel_values": pixels})["logits"]
    for number in range(3):
        alone = session.run({"pixel_values": pixels[number : number + 1]})["logits"]
        np.testing.assert_allclose(alone, whole[number : number + 1], atol=1e-5)
    monkeypatch.setattr(engine, "SMALL_BYTES", 0)
    assert engine.ENGINE.load(tmp_path)._single is None  # type: ignore[attr-defined]
    monkeypatch.undo()
    (texts := tmp_path / "texts").mkdir()
    engine.ENGINE.export(networks.bert(), texts)
    assert engine.ENGINE.load(texts)._single is None  # type: ignore[attr-defined]


ROWS, WIDTH = 50, 8


def table(directory: Path, *, scale: tuple[int, ...], zero: tuple[int, ...] | None, axis: int = 0) -> np.ndarray:
    """Write a graph that looks rows up in an 8-bit table, as NNCF writes them; return the table as float32."""
    random = np.random.default_rng(0)
    stored = random.integers(-100, 100, (ROWS, WIDTH)).astype(np.int8)
    scales = random.uniform(0.1, 1, scale).astype(np.float32)
    node = ops.convert(ops.constant(stored), "f32")
    values = stored.astype(np.float32)
    if zero is not None:
        zeros = random.integers(-5, 5, zero).astype(np.float32)
        node, values = ops.subtract(node, ops.constant(zeros)), values - zeros
    node, values = ops.multiply(node, ops.constant(scales)), values * scales
    ids = ops.parameter([-1, -1], np.int64, name="ids")
    found = ops.gather(node, ids, ops.constant(axis, dtype=np.int64))
    found.output(0).get_tensor().set_names({"found"})
    engine.save(openvino.Model([found], [ids], "lookup"), directory)
    return values


@pytest.mark.parametrize("scale", [(ROWS, 1), (1, WIDTH), (WIDTH,), (ROWS, WIDTH), ()])
@pytest.mark.parametrize("zero", [None, (ROWS, 1), ()])
def test_rows_of_8_bit_tables_are_looked_up_before_they_become_float32(
    tmp_path: Path, scale: tuple[int, ...], zero: tuple[int, ...] | None
) -> None:
    values = table(tmp_path, scale=scale, zero=zero)
    ids = np.array([[3, 7, 0], [49, 3, 1]])
    found = engine.ENGINE.load(tmp_path).run({"ids": ids})["found"]
    np.testing.assert_allclose(found, values[ids], rtol=1e-6)
    model = engine.core().read_model(tmp_path / engine.GRAPH)
    engine._look_up_first(model)
    lookups = [node for node in model.get_ordered_ops() if node.get_type_name() == "Gather"]
    assert lookups
    assert {node.input_value(0).get_node().get_type_name() for node in lookups} == {"Constant"}


def test_columns_are_looked_up_as_before(tmp_path: Path) -> None:
    values = table(tmp_path, scale=(ROWS, 1), zero=None, axis=1)
    ids = np.array([[3, 7]])
    found = engine.ENGINE.load(tmp_path).run({"ids": ids})["found"]
    np.testing.assert_allclose(found, values[:, ids], rtol=1e-6)
