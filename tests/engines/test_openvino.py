"""What is particular to OpenVINO: settings stored with a graph, fixed sizes, and telemetry."""

from __future__ import annotations

from pathlib import Path

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
