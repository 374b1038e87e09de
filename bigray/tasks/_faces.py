"""Find the face in an image and bring it into a fixed position, before it is turned into a vector.

The detector is YuNet (Wu et al., YuNet: a tiny millisecond-level face detector, Machine Intelligence Research 2023), an
ONNX file of 0.1 to 0.3 MB that OpenCV's model zoo and some packages hold; it is given by the user and travels in the
artifact. Its outputs ``cls``, ``obj``, ``bbox`` and ``kps`` at strides 8, 16 and 32 are read here. The five points it
finds (eyes, nose, corners of the mouth) are moved by the similarity that fits best onto those of an upright face.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from bigray.errors import RecipeError
from bigray.tasks import _vision

STRIDES = (8, 16, 32)
MIN_SCORE = 0.6
FRAME = 640
"""Side in pixels of the square that images are fitted into, where the file does not fix one."""
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""The five points (x, y) in an upright face of 112 x 112 pixels, as ArcFace has them (arXiv 1801.07698)."""
TEMPLATE_SIDE = 112


def check(model: bytes, name: str) -> bytes:
    """Return the bytes of a detector that runs here.

    Raises:
        RecipeError: It is no ONNX file with YuNet's outputs, or ONNX Runtime cannot run it.
    """
    wanted = {f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES}
    try:
        model = _mended(model)
        found = {output.name for output in _session(model).get_outputs()}
        if wanted <= found:
            find(np.zeros((FRAME, FRAME, 3), dtype=np.uint8), model)
    except ImportError:
        raise
    except Exception as error:  # onnx and onnxruntime have a dozen classes of their own
        raise RecipeError(
            f"model.input.detector: {name!r} cannot be read and run as ONNX ({type(error).__name__}).",
            pointer="model.input.detector",
        ) from None
    if not wanted <= found:
        raise RecipeError(
            f"model.input.detector: {name!r} has the outputs {sorted(found)}; YuNet's are {sorted(wanted)}. Take "
            "face_detection_yunet_2023mar.onnx.",
            pointer="model.input.detector",
        )
    return model


def find(image: np.ndarray, model: bytes) -> np.ndarray | None:
    """Return the five points (5, 2) of the largest face in an image (H, W, 3) uint8, x and y in pixels; None without."""
    session = _session(model)
    port = session.get_inputs()[0]
    high, wide = (side if isinstance(side, int) else FRAME for side in port.shape[2:])
    frame = (high, wide)
    pixels = _vision.letterbox(image, frame)[:, :, ::-1]  # YuNet reads blue, green, red
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {port.name: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)})
    outputs = dict(zip(names, values, strict=True))
    scores, areas, points = (
        np.concatenate(parts) for parts in zip(*(_level(outputs, s, frame) for s in STRIDES), strict=True)
    )
    sure = scores >= MIN_SCORE
    if not sure.any():
        return None
    # neighbouring places find the same face: of those about as large as the largest take the surest
    large = sure & (areas > 0.6 * areas[sure].max())
    best = points[np.where(large, scores, -1.0).argmax()]
    height, width = _vision.fitted(image.shape[0], image.shape[1], frame)
    return np.asarray(best * [image.shape[1] / width, image.shape[0] / height])


def align(image: np.ndarray, points: np.ndarray, side: int) -> np.ndarray:
    """Return the face (side, side, 3) uint8, turned, scaled and moved so that its points lie where `TEMPLATE` has them.

    The similarity (x, y) -> (a x - b y + u, b x + a y + v) from the template to the image is the least-squares one.
    """
    target = TEMPLATE * (side / TEMPLATE_SIDE)
    x, y, one, zero = target[:, 0], target[:, 1], np.ones(len(target)), np.zeros(len(target))
    equations = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, u, v = np.linalg.lstsq(equations, points.T.ravel(), rcond=None)[0]
    moved = Image.fromarray(image).transform(
        (side, side), Image.Transform.AFFINE, (a, -b, u, b, a, v), Image.Resampling.BICUBIC, fillcolor=(114, 114, 114)
    )
    return np.asarray(moved)


def _mended(model: bytes) -> bytes:
    """Drop a block size where there is one scale for the whole tensor; ONNX Runtime refuses the two together.

    The block-quantized file of OpenCV's model zoo (``int8bq``) has such nodes.
    """
    import onnx

    loaded = onnx.load_model_from_string(model)
    scalars = {weight.name for weight in loaded.graph.initializer if len(weight.dims) == 0 or list(weight.dims) == [1]}
    for node in loaded.graph.node:
        blocks = [one for one in node.attribute if one.name == "block_size"]
        if blocks and node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.input[1] in scalars:
            node.attribute.remove(blocks[0])
    return bytes(loaded.SerializeToString())


def _level(outputs: dict[str, np.ndarray], stride: int, frame: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Return scores (P,), areas (P,) and points (P, 5, 2) in pixels of the frame, at the P places of one stride."""
    columns = frame[1] // stride
    places = np.arange(columns * (frame[0] // stride))
    origin = np.stack([places % columns, places // columns], 1)  # x, y in strides
    known, there = outputs[f"cls_{stride}"][0, :, 0], outputs[f"obj_{stride}"][0, :, 0]
    scores = np.sqrt(np.clip(known, 0, 1) * np.clip(there, 0, 1))
    areas = np.exp(outputs[f"bbox_{stride}"][0, :, 2:].sum(1)) * stride**2
    points = (outputs[f"kps_{stride}"][0].reshape(-1, 5, 2) + origin[:, None]) * stride
    return scores, areas, points


@lru_cache(maxsize=2)
def _session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])
