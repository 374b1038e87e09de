"""Static post-training quantization: weights and activations become 8-bit integers, with ranges seen in calibration.

    x ~ s * (q - z)    q in 0..255 (activations) or -128..127 (weights, a scale per output channel), s and z constants

OpenVINO: `nncf.quantize` with bias correction; for transformers also SmoothQuant (arXiv 2211.10438), which moves
outliers of activations into the weights. https://docs.openvino.ai/2026/openvino-workflow/model-optimization.html
ONNX Runtime: QuantizeLinear/DequantizeLinear pairs, ranges by minimum and maximum.
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html

Measured, one thread of an AMD EPYC (Zen 5), over the same engine in float32: OpenVINO 2.2 to 2.7 times on MiniLM (25
and 128 tokens, 1 and 8 texts), 2.3 to 3.2 on a small residual network at 32 x 32, 4.1 on ResNet-50; a quarter of the
size. On MiniLM's sentence vectors ``mixed`` is as fast as ``performance`` and nearer to float32 (cosine 0.9975 against
0.9971, same nearest neighbour 91.5 % against 88.5 %). What must not be changed: without ``model_type=TRANSFORMER`` these
vectors turn to noise (cosine 0.23), with ``smoothing`` 0.5 they lose much (0.948); LSTM and GRU cells lose half of
their accuracy, so they stay in float32. On ONNX Runtime symmetric activations are slower (1.4 times) and less exact.

Networks that answer step by step have each of their graphs quantized, with ranges of what it was given while calibration
rows were answered (`bigray.compress.calibration`). Whisper tiny.en loses 7 points of word error rate by it (60 prompts of
one voice), 0.3 by quantize_dynamic and none by bfloat16.

Mixed precision on OpenVINO: with ``skip`` the graph is quantized twice; in between each layer's error is measured (`_sensitivity`), and
the worst layers keep float32 weights and activations.
"""

from __future__ import annotations

from bigray.compress.methods import _static


class Config(_static.Config):
    """Knobs of `QuantizeStatic`."""


class QuantizeStatic(_static.Static):
    """See the module's text."""

    name = "quantize_static"
    stage = "graph"
    Config = Config


METHOD = QuantizeStatic()
