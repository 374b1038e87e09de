"""Typed answers as columns of tensors, and ``BYTES`` tensors as the protocol packs them.

Sizes: N inputs, K labels per input, M entries of all inputs together.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bigray.errors import InvalidInput

COLUMNS: dict[str, tuple[tuple[str, str, list[int]], ...]] = {
    "text_classification": (("label", "BYTES", [-1, -1]), ("score", "FP32", [-1, -1])),
    "image_classification": (("label", "BYTES", [-1, -1]), ("score", "FP32", [-1, -1])),
    "object_detection": (
        ("input", "INT64", [-1]),
        ("label", "BYTES", [-1]),
        ("score", "FP32", [-1]),
        ("box", "FP32", [-1, 4]),
    ),
    "automatic_speech_recognition": (
        ("text", "BYTES", [-1]),
        ("word_input", "INT64", [-1]),
        ("word", "BYTES", [-1]),
        ("word_time", "FP32", [-1, 2]),
    ),
}
"""Task -> name, datatype and shape of each tensor of its answers; -1 is a size that varies."""

_KINDS: dict[str, Any] = {"BYTES": object, "FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}


@dataclass(frozen=True)
class Tensor:
    """An array with its name in the protocol's own list of types."""

    datatype: str
    array: np.ndarray


def columns(task: str, answers: Sequence[Any]) -> dict[str, Tensor]:
    """Turn the answers to N inputs into tensors, by name.

    ``label`` and ``score`` are (N, K), best label first. Detection: M objects, ``box`` (M, 4) as xmin, ymin, xmax, ymax
    in pixels, ``input`` the index of the image. Speech: ``text`` (N,); with word times also M words, ``word_time`` (M, 2)
    in seconds.
    """
    values: dict[str, Any]
    if task.endswith("_classification"):
        values = {
            "label": [[label.label for label in answer] for answer in answers],
            "score": [[label.score for label in answer] for answer in answers],
        }
    elif task == "object_detection":
        found = [(i, item) for i, answer in enumerate(answers) for item in answer]
        values = {
            "input": [i for i, _ in found],
            "label": [item.label for _, item in found],
            "score": [item.score for _, item in found],
            "box": [[item.box.xmin, item.box.ymin, item.box.xmax, item.box.ymax] for _, item in found],
        }
    else:
        values = {"text": [answer.text for answer in answers]}
        if any(answer.chunks is not None for answer in answers):
            words = [(i, chunk) for i, answer in enumerate(answers) for chunk in answer.chunks or ()]
            values["word_input"] = [i for i, _ in words]
            values["word"] = [chunk.text for _, chunk in words]
            values["word_time"] = [list(chunk.timestamp) for _, chunk in words]
    tensors = {}
    for name, datatype, shape in COLUMNS[task]:
        if name in values:
            array = np.array(values[name], dtype=_KINDS[datatype])
            if array.size == 0:  # an empty list has lost its further axes
                array = array.reshape([0, *(max(size, 0) for size in shape[1:])])
            tensors[name] = Tensor(datatype, array)
    return tensors


def pack_bytes(array: np.ndarray) -> bytes:
    """Write texts in row-major order, each after its length in 4 bytes, little endian."""
    return b"".join(struct.pack("<I", len(data)) + data for data in _encoded(array))


def unpack_bytes(data: bytes, count: int) -> list[bytes]:
    """Read ``count`` entries.

    Raises:
        InvalidInput: ``wrong_size`` when lengths and bytes do not add up.
    """
    entries: list[bytes] = []
    place = 0
    while place + 4 <= len(data) and len(entries) < count:
        (size,) = struct.unpack_from("<I", data, place)
        place += 4
        if place + size > len(data):
            break
        entries.append(data[place : place + size])
        place += size
    if place != len(data) or len(entries) != count:
        raise InvalidInput("The lengths within a BYTES tensor do not add up to its size.", code="wrong_size")
    return entries


def _encoded(array: np.ndarray) -> Iterator[bytes]:
    for text in array.ravel().tolist():
        yield str(text).encode("utf-8")
