"""Typed answers as columns of tensors, and ``BYTES`` tensors as the protocol packs them.

Sizes: N inputs, K labels per input, M entries of all inputs together.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bigray.errors import InvalidInput

RECOGNITION = (
    ("embedding", "FP32", [-1, -1]),
    ("score", "FP32", [-1]),
    ("verified", "BOOL", [-1]),
    ("match_input", "INT64", [-1]),
    ("match", "BYTES", [-1]),
    ("match_score", "FP32", [-1]),
)
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
    "question_answering": (
        ("input", "INT64", [-1]),
        ("answer", "BYTES", [-1]),
        ("score", "FP32", [-1]),
        ("start", "INT64", [-1]),
        ("end", "INT64", [-1]),
    ),
    "translation": (("translation_text", "BYTES", [-1]),),
    "summarization": (("summary_text", "BYTES", [-1]),),
    "text_to_speech": (("audio", "BYTES", [-1]), ("sampling_rate", "INT64", [-1])),
    "speaker_recognition": RECOGNITION,
    "face_recognition": RECOGNITION,
}
"""Task -> name, datatype and shape of each tensor of its answers; -1 is a size that varies."""

_KINDS: dict[str, Any] = {"BOOL": np.dtype("?"), "BYTES": object, "FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}


@dataclass(frozen=True)
class Tensor:
    """An array with its name in the protocol's own list of types."""

    datatype: str
    array: np.ndarray


def columns(task: str, answers: Sequence[Any]) -> dict[str, Tensor]:
    """Turn the answers to N inputs into tensors, by name.

    ``label`` and ``score`` of a classification are (N, K), best label first. Detection: M objects, ``box`` (M, 4) as
    xmin, ymin, xmax, ymax in pixels, ``input`` the index of the image. Speech: ``text`` (N,); with word times also M words,
    ``word_time`` (M, 2) in seconds. Questions: M answers, ``input`` the index of the question. Recognition: ``embedding``
    (N, D), what was compared with a reference (N,), and M matches of a gallery.
    """
    values = _values(task, answers)
    tensors = {}
    for name, datatype, shape in COLUMNS[task]:
        if name in values:
            array = np.array(values[name], dtype=_KINDS[datatype])
            if array.size == 0:  # an empty list has lost its further axes
                array = array.reshape([0, *(max(size, 0) for size in shape[1:])])
            tensors[name] = Tensor(datatype, array)
    return tensors


def _values(task: str, answers: Sequence[Any]) -> dict[str, Any]:
    if task.endswith("_classification"):
        return {
            "label": [[label.label for label in answer] for answer in answers],
            "score": [[label.score for label in answer] for answer in answers],
        }
    if task == "object_detection":
        found = [(i, item) for i, answer in enumerate(answers) for item in answer]
        return {
            "input": [i for i, _ in found],
            "label": [item.label for _, item in found],
            "score": [item.score for _, item in found],
            "box": [[item.box.xmin, item.box.ymin, item.box.xmax, item.box.ymax] for _, item in found],
        }
    if task == "question_answering":
        each = [(i, item) for i, got in enumerate(answers) for item in (got if isinstance(got, list) else [got])]
        fields = ("answer", "score", "start", "end")
        return {"input": [i for i, _ in each], **{name: [getattr(item, name) for _, item in each] for name in fields}}
    if task.endswith("_recognition") and task != "automatic_speech_recognition":
        values: dict[str, Any] = {"embedding": [answer.embedding for answer in answers]}
        if any(answer.score is not None for answer in answers):
            values |= {name: [getattr(answer, name) for answer in answers] for name in ("score", "verified")}
        if any(answer.matches is not None for answer in answers):
            known = [(i, match) for i, answer in enumerate(answers) for match in answer.matches or ()]
            values["match_input"] = [i for i, _ in known]
            values["match"] = [match.label for _, match in known]
            values["match_score"] = [match.score for _, match in known]
        return values
    if task == "automatic_speech_recognition":
        words = [(i, chunk) for i, answer in enumerate(answers) for chunk in answer.chunks or ()]
        timed = {
            "word_input": [i for i, _ in words],
            "word": [chunk.text for _, chunk in words],
            "word_time": [list(chunk.timestamp) for _, chunk in words],
        }
        asked = any(answer.chunks is not None for answer in answers)
        return {"text": [answer.text for answer in answers], **(timed if asked else {})}
    return {name: [getattr(answer, name) for answer in answers] for name, _, _ in COLUMNS[task]}


def pack_bytes(array: np.ndarray) -> bytes:
    """Write texts or files in row-major order, each after its length in 4 bytes, little endian."""
    return b"".join(struct.pack("<I", len(data)) + data for data in _encoded(array))


def plain(array: np.ndarray) -> list[Any]:
    """Return the entries as JSON has them: files in base64."""
    entries: list[Any] = array.ravel().tolist()
    return [base64.b64encode(one).decode() if isinstance(one, bytes) else one for one in entries]


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
        yield text if isinstance(text, bytes) else str(text).encode("utf-8")
