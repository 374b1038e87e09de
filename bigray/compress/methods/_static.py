"""Static 8 bits of an exported graph, by the engines' own tools; see quantize_static for what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from bigray.compress.base import ConversionError, Method, MethodConfig, knob
from bigray.compress.methods import _graphs, _sensitivity
from bigray.engines import openvino as openvino_engine
from bigray.engines.base import Arrays
from bigray.engines.onnxruntime import MODEL
from bigray.tasks.base import Task

RECURRENT = ("LSTMSequence", "GRUSequence", "RNNSequence", "LSTMCell", "GRUCell", "TensorIterator", "Loop")


class Config(MethodConfig):
    """Knobs of static quantization."""

    preset: Literal["mixed", "performance"] = knob(
        "mixed", choices=["mixed", "performance"], search=["mixed", "performance"]
    )
    """OpenVINO. ``mixed``: asymmetric activations; ``performance``: symmetric ones. ONNX Runtime's are asymmetric."""
    smoothing: float = knob(0.95, low=0.0, high=1.0, search=[])
    """SmoothQuant's alpha for transformers on OpenVINO: how much of an outlier moves into the weights."""
    skip: float = knob(0.0, low=0.0, high=0.9, search=[])
    """OpenVINO. Share of the layers that stay in float32 (mixed precision): those that add the largest errors."""


class Static(Method):
    """What quantize_static and quantize_aware do to an exported graph."""

    needs_calibration = True
    Config: ClassVar[type[MethodConfig]] = Config

    def suits(self, task: Task, engine: str) -> str | None:
        """Return a reason for torch_eager (no integer kernels), for transformers on ONNX Runtime (inaccurate), and for
        synthesisers of speech, over whose graphs NNCF's statistics fail when the number of frames varies.
        """
        if set(task.graphs) - {"", "step"}:
            return "the tools cannot take ranges of graphs that draw sound of any length; use quantize_dynamic"
        if engine not in ("openvino", "onnxruntime"):
            return f"{engine} runs no 8-bit graph; use openvino or onnxruntime"
        if engine == "onnxruntime" and task.model_type == "transformer":
            return "ONNX Runtime's static ranges ruin transformers (cosine to float32 0.3 to 0.9); use quantize_dynamic"
        return None

    def rewrite(self, directory: Path, engine: str, config: Any, calibration: Iterable[Arrays], task: Task) -> None:
        """Quantize the exported graph in place.

        Raises:
            ConversionError: No calibration batch, or nothing was converted.
        """
        settings: Any = self.Config.model_validate(config.model_dump())
        batches = list(calibration)
        if not batches:
            raise ConversionError(f"{self.name} needs calibration rows and got none.")
        before = _graphs.weight_bytes(directory)
        if engine == "openvino":
            _openvino(directory, settings, batches, task.model_type)
            types = _graphs.openvino_types(directory)
            found = min(types["FakeQuantize"], types["Constant:i8"] + types["Constant:u8"])
        else:
            _onnxruntime(directory, settings, batches)
            found = _graphs.onnx_types(directory)["QuantizeLinear"]
        _graphs.require(self.name, directory, before, found, "quantized operators")


def _openvino(directory: Path, settings: Config, batches: list[Arrays], model_type: str | None) -> None:
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, AdvancedSmoothQuantParameters

    model = _graphs.read_openvino(directory)
    names = [port.get_any_name() for port in model.inputs]
    data = nncf.Dataset([{name: batch[name] for name in names} for batch in batches])
    present = {node.get_type_name() for node in model.get_ops()}
    advanced = AdvancedQuantizationParameters(
        smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=settings.smoothing)
    )

    def quantize(skipped: list[str]) -> Any:
        types = [name for name in RECURRENT if name in present]
        with _graphs.quiet():
            return nncf.quantize(
                model,
                data,
                preset=nncf.QuantizationPreset(settings.preset),
                model_type=nncf.ModelType.TRANSFORMER if model_type == "transformer" else None,
                subset_size=len(batches),
                ignored_scope=nncf.IgnoredScope(names=skipped, types=types, validate=False),
                advanced_parameters=advanced,
            )

    quantized = quantize([])
    if settings.skip:
        layers = _sensitivity.openvino_layers(model)
        probes = [_sensitivity.openvino_probe(one, layers) for one in (model, quantized)]
        quantized = quantize(_sensitivity.most_sensitive(layers, probes[0], probes[1], batches, settings.skip))
    openvino_engine.save(quantized, directory)


def _onnxruntime(directory: Path, settings: Config, batches: list[Arrays]) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    if settings.skip:
        raise ConversionError("skip is for openvino; with onnxruntime it must be 0.")
    with _graphs.quiet(), _graphs.preprocessed(directory) as ready:
        quantize_static(
            str(ready),
            str(directory / MODEL),
            _Reader(batches, ready),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )


class _Reader:
    """Hands calibration batches to ONNX Runtime, one at a time; see `onnxruntime.quantization.CalibrationDataReader`."""

    def __init__(self, batches: list[Arrays], graph: Path) -> None:
        import onnx

        model = onnx.load(graph, load_external_data=False).graph
        names = {entry.name for entry in model.input} - {entry.name for entry in model.initializer}
        self._batches: Iterator[Arrays] = iter([{name: batch[name] for name in names} for batch in batches])

    def get_next(self) -> Arrays | None:
        """Return the next batch, or None at the end."""
        return next(self._batches, None)

    def __iter__(self) -> Iterator[Arrays]:
        return self._batches

    def __next__(self) -> Arrays:
        return next(self._batches)
