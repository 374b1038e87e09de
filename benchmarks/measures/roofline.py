"""How many times faster 8 bits alone could make a network, were this core never to wait (Williams et al. 2009).

The dense network's operations are counted, and the rates are those of a large matrix product in OpenVINO, the quickest
thing that this core does in float32 and in 8 bits. Beyond that ceiling lies only a network of fewer operations.
"""

from __future__ import annotations

import sys
from functools import cache
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.measures.rivals import Pair
from bigray.predictor import Inference

ROWS, WIDTH = 512, 1024
"""Of the matrix product: some ms of work, and weights that fit into the cache."""
SECONDS = 2.0


def ceiling(pair: Pair, size: int, dense_ms: float) -> float:
    """Return the speed-up at most, and print what it comes from."""
    work = operations(pair, size)
    rates = best_rates()
    found = {bits: dense_ms / (work / rate * 1e3) for bits, rate in rates.items()}
    print(
        f"roofline, batch {size}: {work / 1e9:.3f} GFLOP in {dense_ms:.3f} ms; this core does {rates[32] / 1e9:.0f} GFLOP/s in float32 "
        f"and {rates[8] / 1e9:.0f} Gop/s in 8 bits: at most {found[32]:.1f}x and {found[8]:.1f}x with as many operations",
        file=sys.stderr,
    )
    return found[8]


def operations(pair: Pair, size: int) -> float:
    """Return the additions and multiplications in the dense network's matrix products and convolutions."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        Inference(pair.task, pair.dense).run(pair.batch(size))
    return float(counter.get_total_flops())


@cache
def best_rates() -> dict[int, float]:
    """Return bits -> operations per second of one thread, the median of interleaved runs."""
    runs = {bits: _product(bits) for bits in (32, 8)}
    times: dict[int, list[float]] = {bits: [] for bits in runs}
    end = perf_counter() + SECONDS
    while perf_counter() < end:
        for bits, request in runs.items():
            begun = perf_counter()
            request.infer()
            times[bits].append(perf_counter() - begun)
    return {bits: 2 * ROWS * WIDTH**2 / float(np.median(taken)) for bits, taken in times.items()}


def _product(bits: int) -> Any:
    import openvino
    from openvino import opset8 as graph

    draw = np.random.default_rng(0)
    given = graph.parameter([ROWS, WIDTH], np.float32)
    weights = graph.constant(draw.uniform(-1, 1, (WIDTH, WIDTH)).astype(np.float32))
    left, right = given, weights
    if bits == 8:  # in the form that quantizers write and the engine carries out in integers
        left = _steps(given, 0.0, 2.55, 256)
        right = _steps(weights, -1.27, 1.27, 255)
    model = openvino.Model([graph.matmul(left, right, False, False)], [given])
    hints = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(model, "CPU", hints).create_infer_request()
    request.set_input_tensor(openvino.Tensor(draw.uniform(0, 1, (ROWS, WIDTH)).astype(np.float32)))
    return request


def _steps(values: Any, low: float, high: float, levels: int) -> Any:
    from openvino import opset8 as graph

    ends = [graph.constant(np.float32(end)) for end in (low, high, low, high)]
    return graph.fake_quantize(values, *ends, levels)
