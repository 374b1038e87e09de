"""Open exported graphs for rewriting, and prove afterwards that something was converted."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from bigray.compress.base import ConversionError
from bigray.engines import openvino as openvino_engine
from bigray.engines.onnxruntime import MODEL

SHRUNK = 0.95
"""The files that hold weights must be smaller than this share of what they were."""


def weight_bytes(directory: Path) -> int:
    """Return the size of the weights alone: the graph around them outweighs those of a very small network."""
    if (directory / MODEL).is_file():
        import onnx

        return sum(weight.ByteSize() for weight in onnx.load(directory / MODEL).graph.initializer)
    return sum(path.stat().st_size for path in directory.glob("*.bin"))


def read_openvino(directory: Path) -> Any:
    """Read an exported OpenVINO graph."""
    return openvino_engine.core().read_model(directory / openvino_engine.GRAPH)


def openvino_types(directory: Path) -> Counter[str]:
    """Count a saved graph's operators by type; constants as ``Constant:<element type>``."""
    counts: Counter[str] = Counter()
    for node in read_openvino(directory).get_ops():
        kind = node.get_type_name()
        counts[f"Constant:{node.get_element_type().get_type_name()}" if kind == "Constant" else kind] += 1
    return counts


def onnx_types(directory: Path) -> Counter[str]:
    """Count a saved graph's operators by type."""
    import onnx

    return Counter(node.op_type for node in onnx.load(directory / MODEL, load_external_data=False).graph.node)


@contextmanager
def preprocessed(directory: Path) -> Iterator[Path]:
    """Give the ONNX graph folded and fused, as ONNX Runtime's quantizers want it; removed afterwards.

    Without this step the quantizers leave LSTM in float32 and say nothing. Noted shapes of inner values are deleted:
    they clash with what the quantizers infer (ShapeInferenceError on Gemm).
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        bare, ready = Path(scratch, "bare.onnx"), Path(scratch, "ready.onnx")
        _without_shapes(onnx.load(directory / MODEL), bare)
        quant_pre_process(bare, ready, skip_symbolic_shape=True)
        _without_shapes(onnx.load(ready), ready)
        yield ready


def _without_shapes(model: Any, path: Path) -> None:
    import onnx

    del model.graph.value_info[:]
    onnx.save(model, path)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the tools' progress bars and warnings; their errors come through as exceptions."""
    loggers = [logging.getLogger(name) for name in ("", "nncf")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def require(method: str, directory: Path, before: int, found: int, wanted: str) -> None:
    """Raise `ConversionError` unless converted operators were ``found`` and the files shrank.

    Args:
        method: Name of the method, for the message.
        directory: The rewritten model.
        before: Its `weight_bytes` before.
        found: How many converted operators it now holds.
        wanted: What those operators are, in words.
    """
    if not found:
        raise ConversionError(f"{method} ran without error, but the graph holds no {wanted}: nothing was converted.")
    if (after := weight_bytes(directory)) >= SHRUNK * before:
        raise ConversionError(
            f"{method} ran without error, but the weights went from {before:,} to {after:,} bytes: most were not "
            "converted."
        )
