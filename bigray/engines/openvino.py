"""OpenVINO on the CPU. https://docs.openvino.ai/2026/openvino-workflow/running-inference.html.

Files: ``model.xml`` (graph) and ``model.bin`` (weights), and ``engine.json`` where a method asks for settings at load
time. The fastest engine measured for nearly every network: on an AMD EPYC (Zen 5), one thread, about 2.3 times torch
eager in float32 and 5 to 9 times with int8. torch is imported by `export` alone.
"""

from __future__ import annotations

import importlib.util
import json
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bigray.engines.base import Arrays, Engine, Parts, Program, Session, graph_folders

GRAPH, WEIGHTS, HINTS = "model.xml", "model.bin", "engine.json"
SMALL_BYTES = 32 * 2**20
"""Of weights, up to which a graph is compiled a second time, for batches of one: knowing all sizes, it runs 1.1 to 1.3 times
as fast where the network is small, and gives the same numbers. In a larger one there is little to win and much to keep."""
HINT_NAMES = ("INFERENCE_PRECISION_HINT", "DYNAMIC_QUANTIZATION_GROUP_SIZE")
"""Settings that ``engine.json`` may hold."""


def core() -> Any:
    """Return a new `openvino.Core`."""
    import openvino

    return openvino.Core()


def save(model: Any, directory: Path, *, half: bool = False) -> None:
    """Write a graph over the one in ``directory``, weights in the types they have, or float32 ones as float16.

    Written beside it and then renamed: the old weights may still be mapped into this process's memory.
    """
    import openvino

    scratch = directory / "new"
    scratch.mkdir()
    openvino.save_model(model, scratch / GRAPH, compress_to_fp16=half)
    for name in (WEIGHTS, GRAPH):
        (scratch / name).replace(directory / name)
    scratch.rmdir()


def read_hints(directory: Path) -> dict[str, str]:
    """Return the settings stored with a graph."""
    path = directory / HINTS
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: str(found[name]) for name in HINT_NAMES if name in found}


def write_hints(directory: Path, **hints: str) -> None:
    """Add settings to those stored with a graph."""
    text = json.dumps({**read_hints(directory), **hints}, indent=1, sort_keys=True)
    (directory / HINTS).write_text(text, encoding="utf-8")


class OpenVino(Engine):
    """See the module's text."""

    name = "openvino"

    def available(self) -> str | None:
        """Return None when openvino can be imported."""
        if importlib.util.find_spec("openvino") is None:
            return "openvino is not installed; run: pip install openvino"
        return None

    def export(self, program: Program, directory: Path) -> None:
        """Convert through `torch.export`; recurrent networks through TorchScript (see `_traced.is_recurrent`)."""
        for folder, graph in program.graphs(directory).items():
            _export(graph, folder)

    def load(self, directory: Path, *, threads: int = 1, program: Callable[[], Program] | None = None) -> Session:
        """Read and compile the graphs for ``threads`` cores.

        The precision is float32 unless ``engine.json`` says otherwise: OpenVINO by itself would pick bfloat16 on a CPU
        that has it, and quality would depend on the machine.
        """
        sessions = {name: _load(folder, threads) for name, folder in graph_folders(directory).items()}
        return sessions[""] if len(sessions) == 1 else Parts(sessions)


class OpenVinoSession(Session):
    """A compiled graph, and maybe the same one for a batch of one; every calling thread gets inference requests of its own."""

    def __init__(self, model: Any, compiled: Any, single: Any = None) -> None:
        import openvino

        self._compiled, self._single, self._tensor = compiled, single, openvino.Tensor
        self._inputs = [(port.get_any_name(), port.get_element_type().to_dtype()) for port in compiled.inputs]
        # those of the model as read: where compiling merges layers, an output has the names of all of them
        self._outputs = [(port.get_any_name(), _rank(port)) for port in model.outputs]
        self._local = threading.local()

    def run(self, inputs: Mapping[str, np.ndarray], part: str = "") -> Arrays:
        """Run the graph on the arrays that it has inputs for; what is returned is a copy."""
        feed = [_shareable(inputs[name], kind) for name, kind in self._inputs]  # lives until the request has run
        alone = self._single is not None and all(len(array) == 1 for array in feed)
        requests: dict[bool, Any] = self._local.__dict__.setdefault("requests", {})
        if alone not in requests:
            requests[alone] = (self._single if alone else self._compiled).create_infer_request()
        request = requests[alone]
        # given to `infer` as a list, inputs take 17 us to be handed over, a third of a small model's time
        for index, array in enumerate(feed):
            request.set_input_tensor(index, self._tensor(array, shared_memory=True))
        request.infer()
        found = {}
        for index, (name, rank) in enumerate(self._outputs):
            value = np.array(request.get_output_tensor(index).data)
            # where one step is taken out of a quantized product, the plugin (2026.4) gives it as (1, N, C) instead of (N, C)
            found[name] = value if rank in (None, value.ndim) else value.reshape(value.shape[-rank:])
        return found

    def close(self) -> None:
        """Free the graph and this thread's request."""
        self._local = threading.local()
        self._compiled = self._single = None


def _rank(port: Any) -> int | None:
    rank = port.get_partial_shape().rank
    return rank.get_length() if rank.is_static else None


def _shareable(array: np.ndarray, kind: Any) -> np.ndarray:
    """Return the array as OpenVINO can read it in place: its type, in one piece, and not read-only as those of Ray are."""
    array = np.ascontiguousarray(array, dtype=kind)
    return array if array.flags.writeable else array.copy()


def _export(program: Program, directory: Path) -> None:
    import openvino
    import torch

    from bigray.engines import _traced

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the converters warn of torch's deprecated internals
        if _traced.is_recurrent(program):
            inputs = _traced.example(program)
            model = openvino.convert_model(_traced.Positional(program), example_input=inputs)
        else:
            model = openvino.convert_model(_traced.exported(program))
    _name(model, program)
    save(model, directory)


def _load(directory: Path, threads: int) -> Session:
    runtime = core()
    # the plugin copies weights into layouts of its own; mapped files would stay in memory beside them
    runtime.set_property({"ENABLE_MMAP": False})
    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        # pinning would put the threads of every replica of a machine on the same first cores
        "ENABLE_CPU_PINNING": False,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        **read_hints(directory),
    }
    model = runtime.read_model(directory / GRAPH)
    _look_up_first(model)
    compiled = runtime.compile_model(model, "CPU", settings)
    single = None
    if _only_batch_varies(model) and (directory / WEIGHTS).stat().st_size <= SMALL_BYTES:
        fixed = model.clone()
        fixed.reshape({port: [1, *list(port.get_partial_shape())[1:]] for port in fixed.inputs})
        single = runtime.compile_model(fixed, "CPU", settings)
    return OpenVinoSession(model, compiled, single)


def _only_batch_varies(model: Any) -> bool:
    shapes = [port.get_partial_shape() for port in model.inputs]
    return bool(shapes) and all(
        shape.rank.is_static and len(shape) > 1 and shape[0].is_dynamic and all(size.is_static for size in shape[1:])
        for shape in shapes
    )


def _look_up_first(model: Any) -> None:
    """Have rows of quantized tables (embeddings) looked up before they are made float32, not after.

    The numbers are the same. The plugin (2026.4) would make the whole table float32 when it compiles the graph and keep it so:
    47 MB instead of 12 for the words of a BERT of width 384.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Gather" or _constant(node.input_value(2)) != 0:
            continue
        table, rows = node.input_value(0), node.input_value(1)
        shape, rank = table.get_partial_shape(), rows.get_partial_shape().rank
        if (
            table.get_node().get_type_name() != "Multiply"
            or shape.is_dynamic
            or rank.is_dynamic
            or rank.get_length() == 0
        ):
            continue
        found = _looked_up(table, rows, shape[0].get_length())
        if found is not None:
            found.set_friendly_name(node.get_friendly_name())
            node.output(0).replace(found.output(0))
    model.validate_nodes_and_infer_types()


def _looked_up(table: Any, rows: Any, count: int) -> Any:
    """Return a node for these rows of a constant table and of what it is computed from element by element, or None."""
    from openvino import opset13 as ops

    node = table.get_node()
    kind = node.get_type_name()
    if kind == "Constant":
        shape = list(table.get_shape())
        if len(shape) == 2 and shape[0] == count:
            return ops.gather(table, rows, ops.constant(0, dtype=np.int64))
        return node if len(shape) < 2 or shape[0] == 1 else None  # the same for all rows
    if kind == "Convert":
        inner = _looked_up(node.input_value(0), rows, count)
        return None if inner is None else ops.convert(inner, node.get_element_type().to_string())
    if kind in ("Multiply", "Subtract"):
        pair = [_looked_up(value, rows, count) for value in node.input_values()]
        if all(one is not None for one in pair):
            return (ops.multiply if kind == "Multiply" else ops.subtract)(*pair)
    return None


def _constant(value: Any) -> Any:
    """Return the number that a port holds, or None."""
    node = value.get_node()
    return node.get_data().item() if node.get_type_name() == "Constant" and node.get_data().size == 1 else None


def _name(model: Any, program: Program) -> None:
    """Give the graph's ports the program's names, and its inputs the sizes that never vary."""
    import openvino

    for port, name in zip(model.inputs, program.inputs, strict=True):
        port.get_tensor().set_names({name})
        sizes = [
            -1 if axis in program.dynamic.get(name, {}) else size
            for axis, size in enumerate(program.example[name].shape)
        ]
        port.get_node().set_partial_shape(openvino.PartialShape(sizes))
    for port, name in zip(model.outputs, program.outputs, strict=True):
        port.get_tensor().set_names({name})
    model.validate_nodes_and_infer_types()


ENGINE = OpenVino()
