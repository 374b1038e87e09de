"""Weight-only quantization: weights stored in 8 or 4 bits, activations and arithmetic in float32. No calibration data.

    w ~ s * q    s per output channel (8 bits), or per group of ``group_size`` inputs of a channel (4 bits)

Only rounding of weights costs quality, so it is the gentlest way to a quarter of the size and less; what is not quantized
is stored as float16. Dettmers and Zettlemoyer 2023 (arXiv 2212.09720) on how many bits are worth it.

OpenVINO: `nncf.compress_weights`; embeddings and the last layer stay at 8 bits when the rest has 4.
https://docs.openvino.ai/2026/openvino-workflow/model-optimization-guide/weight-compression.html
ONNX Runtime: 8-bit weights are widened once, at load; 4-bit ones of matrix products by its operator MatMulNBits.
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#quantize-to-int4uint4

Measured on OpenVINO, one thread: the speed of float32 on MiniLM (0.99 times), 3.6 to 3.8 times torch's on a decoder, no
faster with 4 bits than with 8; cosine to float32 of MiniLM's sentence vectors 0.9993 with 8 bits, 0.9575 with 4 bits in
groups of 32 and 0.9494 in groups of 64. Where speed is wanted too, take quantize_static or quantize_dynamic.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

from bigray.compress.base import ConversionError, Method, MethodConfig, knob
from bigray.compress.methods import _graphs
from bigray.engines import openvino as openvino_engine
from bigray.engines.base import Arrays
from bigray.engines.onnxruntime import MODEL
from bigray.tasks.base import Task


class Config(MethodConfig):
    """Knobs of `QuantizeWeightOnly`."""

    bits: Literal[4, 8, 16] = knob(8, choices=[4, 8, 16], search=[8, 4, 16])
    """Bits of a weight; 16 stores float16."""
    group_size: int = knob(64, choices=[32, 64, 128], search=[])
    """Weights that share a scale, with 4 bits. Smaller is more accurate, larger smaller."""


class QuantizeWeightOnly(Method):
    """See the module's text."""

    name = "quantize_weight_only"
    stage = "graph"
    Config: ClassVar[type[MethodConfig]] = Config

    def suits(self, task: Task, engine: str) -> str | None:
        """Return a reason for torch_eager."""
        if engine not in ("openvino", "onnxruntime"):
            return f"{engine} stores float32 weights; use openvino or onnxruntime"
        return None

    def rewrite(self, directory: Path, engine: str, config: Any, calibration: Iterable[Arrays], task: Task) -> None:
        """Quantize the stored weights in place; ``calibration`` is not looked at.

        Raises:
            ConversionError: Nothing was converted, or no layer could be given 4 bits.
        """
        settings = Config.model_validate(config.model_dump())
        before = _graphs.weight_bytes(directory)
        convert = _openvino if engine == "openvino" else _onnxruntime
        found = convert(directory, settings)
        if not found and settings.bits == 4:
            raise ConversionError(
                f"quantize_weight_only found no matrix product whose weights can have 4 bits in groups of "
                f"{settings.group_size}. Use 8 bits or smaller groups."
            )
        _graphs.require(self.name, directory, before, found, f"weights of {settings.bits} bits")


def _openvino(directory: Path, settings: Config) -> int:
    import nncf

    model = _graphs.read_openvino(directory)
    if settings.bits < 16:
        with _graphs.quiet():
            if settings.bits == 8:
                model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
            else:
                model = nncf.compress_weights(
                    model, mode=nncf.CompressWeightsMode.INT4_SYM, ratio=1.0, group_size=settings.group_size
                )
    openvino_engine.save(model, directory, half=True)
    types = _graphs.openvino_types(directory)
    wanted = {4: ("i4", "u4"), 8: ("i8", "u8"), 16: ("f16",)}[settings.bits]
    return sum(types[f"Constant:{name}"] for name in wanted)


def _onnxruntime(directory: Path, settings: Config) -> int:
    from bigray.compress.methods import _onnx_storage

    if settings.bits == 4:
        import onnx
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        with _graphs.quiet():
            quantizer = MatMulNBitsQuantizer(
                onnx.load(directory / MODEL), bits=4, block_size=settings.group_size, is_symmetric=True
            )
            quantizer.process()
        onnx.save(quantizer.model.model, directory / MODEL)
    count = _onnx_storage.store(directory, integers=settings.bits < 16)
    return _graphs.onnx_types(directory)["MatMulNBits"] if settings.bits == 4 else count


METHOD = QuantizeWeightOnly()
