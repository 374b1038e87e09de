"""ONNX Runtime on the CPU. https://onnxruntime.ai/docs/api/python/api_summary.html.

Files: ``model.onnx``, with weights beside it in ``model.onnx.data`` only past ONNX's limit of 2 GB. torch is imported by
`export` alone, so a replica that loads and runs never pays for it.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from bigray.engines.base import Arrays, Engine, Parts, Program, Session, graph_folders

MODEL = "model.onnx"
OPSET = 18
"""Version of the ONNX operators written for recurrent networks; others get torch's own choice."""


class OnnxRuntime(Engine):
    """See the module's text."""

    name = "onnxruntime"

    def available(self) -> str | None:
        """Return None when onnxruntime can be imported."""
        if importlib.util.find_spec("onnxruntime") is None:
            return "onnxruntime is not installed; run: pip install onnxruntime"
        return None

    def export(self, program: Program, directory: Path) -> None:
        """Convert through `torch.export`; recurrent networks through TorchScript (see `_traced.is_recurrent`)."""
        for folder, graph in program.graphs(directory).items():
            _export(graph, folder)

    def load(self, directory: Path, *, threads: int = 1, program: Callable[[], Program] | None = None) -> Session:
        """Read the graphs; ``threads`` cores work on one operator."""
        sessions = {name: _load(folder, threads) for name, folder in graph_folders(directory).items()}
        return sessions[""] if len(sessions) == 1 else Parts(sessions)


class OnnxSession(Session):
    """A loaded graph; ONNX Runtime allows calls from several threads at once."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._types = {entry.name: _TYPES[entry.type] for entry in session.get_inputs()}
        self._outputs = [entry.name for entry in session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray], part: str = "") -> Arrays:
        """Run the graph on the arrays that it has inputs for."""
        feed = {name: np.ascontiguousarray(inputs[name], dtype=kind) for name, kind in self._types.items()}
        values = self._session.run(self._outputs, feed)
        return dict(zip(self._outputs, values, strict=True))

    def close(self) -> None:
        """Free the graph."""
        self._session = None


def _export(program: Program, directory: Path) -> None:
    import torch

    from bigray.engines import _traced

    inputs, outputs, path = list(program.inputs), list(program.outputs), directory / MODEL
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporters warn of their own deprecated internals
        if _traced.is_recurrent(program):
            torch.onnx.export(
                _traced.Positional(program),
                _traced.example(program),
                path,
                dynamo=False,
                opset_version=OPSET,
                input_names=inputs,
                output_names=outputs,
                dynamic_axes={name: dict(axes) for name, axes in program.dynamic.items()},
            )
            return
        graph = _traced.exported(program)
        converted = torch.onnx.export(graph, dynamo=True, verbose=False, input_names=inputs, output_names=outputs)
        converted.save(path)  # type: ignore[union-attr]  # None is for dynamo=False


def _load(directory: Path, threads: int) -> Session:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; warnings of the graph optimizer say nothing a user can act on
    # idle threads must not spin: replicas share a machine
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        str(directory / MODEL), sess_options=options, providers=["CPUExecutionProvider"]
    )
    return OnnxSession(session)


_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}

ENGINE = OnnxRuntime()
