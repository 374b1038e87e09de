"""Which layers of a quantized graph lose most, by the error that each one adds on calibration rows.

    error(x) = sum (x_quantized - x)^2 / sum x^2                  over the rows, x a tensor of the graph
    added(layer) = error(its output) - error(its input)           what reached the layer was wrong already

Compared are two graphs that are the same but for quantization, tensor by tensor, as ONNX Runtime's own tool does
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#quantization-debugging).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bigray.engines import openvino as openvino_engine
from bigray.engines.base import Arrays

ROWS = 32
"""Calibration batches that are compared."""
LAYERS = ("Convolution", "GroupConvolution", "MatMul")
"""Operators with weights."""

Probe = Callable[[Arrays], Arrays]
"""Runs a graph on a batch and returns its inner tensors by name."""
Tensors = Mapping[str, tuple[str, str]]
"""Layer -> names of its input and its output tensor."""


def most_sensitive(
    layers: Tensors, dense: Probe, quantized: Probe, batches: Sequence[Arrays], share: float
) -> list[str]:
    """Return the layers that add the largest errors, at least one: ``share`` of all of them, the worst first."""
    squares: dict[str, float] = {}
    differences: dict[str, float] = {}
    for batch in batches[:ROWS]:
        right, wrong = dense(batch), quantized(batch)
        for name in right.keys() & wrong.keys():
            value = right[name].astype(np.float64)
            squares[name] = squares.get(name, 0.0) + float(np.square(value).sum())
            differences[name] = differences.get(name, 0.0) + float(np.square(wrong[name] - value).sum())
    error = {name: differences[name] / max(square, 1e-12) for name, square in squares.items()}
    added = {
        layer: error[after] - error.get(before, 0.0) for layer, (before, after) in layers.items() if after in error
    }
    ordered = sorted(added, key=lambda layer: (-added[layer], layer))
    return ordered[: max(1, round(share * len(ordered)))]


def openvino_layers(model: Any) -> Tensors:
    """Return the layers of a graph whose second input comes from constants alone."""
    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() in LAYERS and _constant(node.input_value(1).get_node()):
            found[node.get_friendly_name()] = (_key(node.input_value(0)), _key(node.output(0)))
    return found


def openvino_probe(model: Any, layers: Tensors) -> Probe:
    """Return what runs a copy of the graph and reads the tensors of ``layers`` that it has."""
    wanted = {name for pair in layers.values() for name in pair}
    copy = model.clone()
    ports = {
        _key(port): port
        for node in copy.get_ordered_ops()
        if node.get_type_name() not in ("Parameter", "Constant", "Result")
        for port in node.outputs()
        if _key(port) in wanted
    }
    first = len(copy.outputs)
    copy.add_outputs(list(ports.values()))
    compiled = openvino_engine.core().compile_model(copy, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [port.get_any_name() for port in compiled.inputs]

    def run(batch: Arrays) -> Arrays:
        found = compiled({name: batch[name] for name in names})
        return {name: np.array(found[first + number]) for number, name in enumerate(ports)}

    return run


def _key(port: Any) -> str:
    return f"{port.get_node().get_friendly_name()}:{port.get_index()}"


def _constant(node: Any) -> bool:
    """Whether everything that leads to a node is a constant."""
    if node.get_type_name() == "Constant":
        return True
    inputs = node.input_values()
    return bool(inputs) and all(_constant(port.get_node()) for port in inputs)
