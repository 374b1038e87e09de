"""Weights of an ONNX graph stored in fewer bits and widened again by operators that ONNX Runtime folds when it loads.

    x ~ s * q    q in -127..127, s a scale per output channel:    Mul(Cast(q), s)
    x ~ half     Cast(half)

Cast and Mul of constants are computed once, at load (constant folding is one of ONNX Runtime's basic optimizations;
DequantizeLinear is not folded, and would run at every inference). So files shrink and speed stays.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bigray.engines.onnxruntime import MODEL

LEAST = 256
"""Constants of fewer numbers stay as they are."""


def store(directory: Path, *, integers: bool) -> int:
    """Rewrite the graph in ``directory``: large float32 constants become int8 where they are weights, others float16.

    Args:
        directory: Folder of an exported graph.
        integers: False stores all of them as float16.

    Returns:
        How many constants are now int8 (or float16, without ``integers``).
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(directory / MODEL)
    graph = model.graph
    axes = _axes(graph) if integers else {}
    count, head = 0, []
    for tensor in list(graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT or int(np.prod(tensor.dims)) < LEAST:
            continue
        name, value = tensor.name, numpy_helper.to_array(tensor)
        stored = f"{name}.stored"
        graph.initializer.remove(tensor)
        axis = axes.get(name)
        count += 1 if axis is not None or not integers else 0
        if axis is None:
            half = np.clip(value, *np.array([-65504, 65504], np.float32)).astype(np.float16)
            graph.initializer.append(numpy_helper.from_array(half, stored))
            head.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
            continue
        whole, scale = quantized(value, axis)
        graph.initializer.append(numpy_helper.from_array(whole, stored))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        head.append(onnx.helper.make_node("Cast", [stored], [f"{name}.wide"], to=onnx.TensorProto.FLOAT))
        head.append(onnx.helper.make_node("Mul", [f"{name}.wide", f"{name}.scale"], [name]))
    nodes = [*head, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, directory / MODEL)
    return count


def quantized(value: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 numbers and their float32 scale, one for each index of ``axis`` (of size 1 along the others)."""
    others = tuple(one for one in range(value.ndim) if one != axis)
    largest = np.abs(value).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(value / scale).astype(np.int8), scale


def _axes(graph: Any) -> dict[str, int]:
    """Return, for each weight of two axes or more, its axis of outputs; None of those that are used in two ways."""
    axes: dict[str, int] = {}
    clash = set()
    dims = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        turned = any(one.name == "transB" and one.i for one in node.attribute)
        places = {
            "MatMul": {1: -1},
            "Gemm": {1: 0 if turned else 1},
            "Conv": {1: 0},
            "Gather": {0: 0},
            "LSTM": {1: 1, 2: 1},
            "GRU": {1: 1, 2: 1},
        }.get(node.op_type, {})
        for place, axis in places.items():
            name = node.input[place] if place < len(node.input) else ""
            if dims.get(name, 0) < 2:
                continue
            if axes.setdefault(name, axis % dims[name]) != axis % dims[name]:
                clash.add(name)
    return {name: axis for name, axis in axes.items() if name not in clash}
