"""The Open Inference Protocol, version 2, as KServe and Triton speak it and ``tritonclient.http`` asks it.

::

    GET  v2                              server metadata
    GET  v2/health/live  v2/health/ready
    GET  v2/models/NAME[/versions/V]     names, types and shapes of tensors; /ready whether it answers
    POST v2/models/NAME[/versions/V]/infer

One input tensor, ``BYTES`` of shape (N,), named as the task's field: texts, or the bytes of image or sound files (in
JSON, base64). Tensors of the answer have true types; rows of unlike length are not padded but laid end to end, with a
tensor that says which input each entry belongs to. Parameters of the task go into the request's ``parameters``. Tensors
may be binary, behind the JSON; the bytes of an answered sound are base64 within it. Sources: https://github.com/kserve/open-inference-protocol and Triton's
``protocol/extension_binary_data.md``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bigray.errors import BigrayError, Forbidden, InvalidInput, RequestError, UnsupportedMedia
from bigray.schemas import Contract
from bigray.serve import limits
from bigray.serve.dialects._tensors import COLUMNS, columns, pack_bytes, plain, unpack_bytes
from bigray.serve.dialects.base import About, Call, Dialect, Question, Reply
from bigray.serve.openapi import operation

LENGTH = "inference-header-content-length"
MAX_ID_CHARACTERS = 256
_RESERVED = {"binary_data_output", "sequence_id", "sequence_start", "sequence_end", "priority", "timeout"}
"""Parameters that clients add by themselves; of these only the first means something here."""


class OpenInference(Dialect):
    """See the module's text."""

    name = "openinference"
    root = "/v2"

    def methods(self, path: str, about: About) -> tuple[str, ...]:
        """As listed above."""
        rest = _rest(path, about)
        if rest is not None:
            return {"": ("GET",), "/ready": ("GET",), "/infer": ("POST",)}.get(rest, ())
        return ("GET",) if path in {"/v2", "/v2/health/live", "/v2/health/ready"} else ()

    def accepts(self, contract: Contract) -> str:
        """JSON, alone or with binary tensors behind it."""
        return "application/json, application/octet-stream"

    def read(self, path: str, about: About) -> Reply | None:
        """Metadata and health."""
        rest = _rest(path, about)
        if path.startswith("/v2/health/"):
            return _json({path.rpartition("/")[2]: True})
        if rest == "/ready":
            return _json({"name": about.name, "ready": True})
        if rest == "":
            return _json(_metadata(about))
        return _json({"name": "bigray", "version": "2", "extensions": ["binary_tensor_data"]})

    def parse(self, question: Question, about: About) -> Call:
        """Read JSON and the binary tensors behind it."""
        head, tail = _parts(question)
        if not isinstance(head, dict):
            raise InvalidInput("The request must be an object.", code="wrong_type", pointer="")
        limits.check_fields(head, {"id", "inputs", "outputs", "parameters"}, "")
        wish: dict[str, Any] = {"id": _identity(head.get("id")), "outputs": None, "binary": False}
        given = head.get("parameters")
        if isinstance(given, dict):
            wish["binary"] = given.get("binary_data_output") is True
            given = {key: value for key, value in given.items() if key not in _RESERVED}
        parameters = limits.parse_parameters(given, about.contract.parameters)
        wish["outputs"] = _wanted(head.get("outputs"), about.contract, wish["binary"])
        return Call(_rows(head.get("inputs"), tail, about.contract), parameters, many=True, wish=wish)

    def render(self, answers: Sequence[Any], call: Call, about: About) -> Reply:
        """Write tensors, in JSON or behind it, as was asked for each."""
        found = columns(about.contract.task, answers)
        wanted: dict[str, bool] = call.wish["outputs"] or dict.fromkeys(found, call.wish["binary"])
        outputs, tail = [], b""
        for name, binary in wanted.items():
            tensor = found.get(name)
            if tensor is None:  # word times that were not asked for
                continue
            entry: dict[str, Any] = {"name": name, "datatype": tensor.datatype, "shape": list(tensor.array.shape)}
            if binary:
                data = pack_bytes(tensor.array) if tensor.datatype == "BYTES" else tensor.array.tobytes()
                entry["parameters"] = {"binary_data_size": len(data)}
                tail += data
            else:
                entry["data"] = plain(tensor.array)
            outputs.append(entry)
        told: dict[str, Any] = {"model_name": about.name, "model_version": about.version, "outputs": outputs}
        if call.wish["id"] is not None:
            told["id"] = call.wish["id"]
        head = json.dumps(told, ensure_ascii=False).encode()
        if not tail and not any(wanted.values()):
            return Reply(head)
        return Reply(head + tail, "application/octet-stream", {LENGTH: str(len(head))})

    def problem(self, error: BigrayError, request_id: str) -> tuple[str, bytes]:
        """Text under ``error``, as the protocol wants; an object there would be unreadable to its clients."""
        told = {"error": error.detail[:1000], "code": error.code, "request_id": request_id}
        return "application/json", json.dumps(told).encode()

    def describe(self, about: About) -> dict[str, Any]:
        """The paths above, without versions."""
        base = f"/v2/models/{about.name}"
        tensor = {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "datatype": {"type": "string"},
                "shape": {"type": "array", "items": {"type": "integer"}},
                "data": {"type": "array"},
                "parameters": {"type": "object"},
            },
            "required": ["name", "datatype", "shape"],
        }
        tensors = {"type": "array", "items": tensor}
        asked = {
            "type": "object",
            "properties": {
                "id": {"type": "string", "maxLength": MAX_ID_CHARACTERS},
                "inputs": {**tensors, "minItems": len(about.contract.fields), "maxItems": len(about.contract.fields)},
                "outputs": {"type": "array", "items": {"type": "object"}},
                "parameters": about.contract.parameters.model_json_schema(),
            },
            "required": ["inputs"],
        }
        answer = {"type": "object", "properties": {"id": {"type": "string"}, "outputs": tensors}}
        return {
            "/v2": {"get": operation("Server metadata", {"type": "object"})},
            "/v2/health/ready": {"get": operation("Readiness", {"type": "object"})},
            base: {"get": operation("Names, types and shapes of tensors", {"type": "object"})},
            f"{base}/infer": {
                "post": operation(
                    "Predict, in the Open Inference Protocol", answer, {"application/json": {"schema": asked}}
                )
            },
        }


def _rest(path: str, about: About) -> str | None:
    """Return what follows this model (and its version) in a path; None when the path names no model or another."""
    for base in (f"/v2/models/{about.name}/versions/{about.version}", f"/v2/models/{about.name}"):
        if path == base or path.startswith(f"{base}/"):
            return path.removeprefix(base)
    return None


def _metadata(about: About) -> dict[str, Any]:
    return {
        "name": about.name,
        "versions": [about.version],
        "platform": about.engine,
        "inputs": [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in about.contract.fields],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": shape}
            for name, datatype, shape in COLUMNS[about.contract.task]
        ],
    }


def _parts(question: Question) -> tuple[Any, bytes]:
    kind = limits.media_type(question.headers.get("content-type"))
    if kind not in {None, "application/json", "application/octet-stream"}:
        raise UnsupportedMedia("Send JSON, with binary tensors behind it if you like.")
    declared = question.headers.get(LENGTH)
    if declared is None:
        return limits.parse_json(question.body), b""
    if not (declared.isascii() and declared.isdigit()) or len(declared) > 19 or int(declared) > len(question.body):
        raise RequestError("Inference-Header-Content-Length is not a length within the body.", code="bad_framing")
    size = int(declared)
    return limits.parse_json(question.body[:size]), question.body[size:]


def _identity(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_ID_CHARACTERS or not value.isprintable():
        raise InvalidInput(
            f"id must be text of at most {MAX_ID_CHARACTERS} printable characters.", code="wrong_type", pointer="/id"
        )
    return value


def _rows(inputs: Any, tail: bytes, contract: Contract) -> list[dict[str, Any]]:
    """Read one tensor per field of an input, all of one length; binary ones lie behind the JSON in their order."""
    if not isinstance(inputs, list) or not inputs or not all(isinstance(tensor, dict) for tensor in inputs):
        raise InvalidInput("inputs must be a list of tensors.", code="missing_field", pointer="/inputs")
    names = [tensor.get("name") for tensor in inputs]
    if len(names) != len(contract.fields) or any(name not in names for name in contract.fields):
        wanted = " and ".join(repr(name) for name in contract.fields)
        raise InvalidInput(
            f"The input tensors are these, one each: {wanted}.", code="unknown_tensor", pointer="/inputs"
        )
    columns: dict[str, list[Any]] = {}
    for number, tensor in enumerate(inputs):
        items, tail = _items(tensor, tail, f"/inputs/{number}", last=number == len(inputs) - 1)
        columns[tensor["name"]] = [_value(item, contract, f"/inputs/{number}/data/{i}") for i, item in enumerate(items)]
    if len({len(column) for column in columns.values()}) > 1:
        raise InvalidInput("The input tensors differ in length.", code="wrong_shape", pointer="/inputs")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _items(tensor: dict[str, Any], tail: bytes, at: str, *, last: bool) -> tuple[list[Any], bytes]:
    """Return the entries of a tensor, and the bytes behind the JSON that belong to further ones."""
    limits.check_fields(tensor, {"name", "shape", "datatype", "data", "parameters"}, at)
    if tensor.get("datatype") != "BYTES":
        raise InvalidInput("The datatype of the input is BYTES.", code="wrong_datatype", pointer=f"{at}/datatype")
    count = _count(tensor.get("shape"), f"{at}/shape")
    size = _binary_size(tensor.get("parameters"), f"{at}/parameters")
    if (size is None) == ("data" not in tensor) or (size or 0) > len(tail) or (last and (size or 0) != len(tail)):
        raise InvalidInput(
            "A tensor has either data or a binary_data_size that is the number of bytes behind the JSON.",
            code="wrong_size",
            pointer=at,
        )
    items = unpack_bytes(tail[:size], count) if size is not None else tensor["data"]
    if not isinstance(items, list) or len(items) != count:
        raise InvalidInput("The data does not hold as many entries as the shape says.", code="wrong_shape", pointer=at)
    return items, tail[size or 0 :]


def _value(item: Any, contract: Contract, pointer: str) -> Any:
    if contract.field == "text":
        if isinstance(item, bytes):
            try:
                item = item.decode("utf-8")
            except UnicodeDecodeError:
                raise RequestError("A text is not UTF-8.", code="invalid_utf8", pointer=pointer) from None
        return limits.check_text(item, pointer)
    data = item if isinstance(item, bytes) else limits.decode_base64(item, contract.field, pointer)
    return limits.check_media(data, contract.field, pointer)


def _count(shape: Any, pointer: str) -> int:
    """Return N of the shape (N,) or (N, 1)."""
    plain = isinstance(shape, list) and all(type(size) is int for size in shape)
    if not plain or len(shape) not in {1, 2} or (len(shape) == 2 and shape[1] != 1):
        raise InvalidInput("The shape of the input is [N] or [N, 1].", code="wrong_shape", pointer=pointer)
    if not 1 <= shape[0] <= limits.MAX_ITEMS:
        raise InvalidInput(f"A request holds 1 to {limits.MAX_ITEMS} inputs.", code="too_many_items", pointer=pointer)
    return int(shape[0])


def _binary_size(parameters: Any, pointer: str) -> int | None:
    if parameters is None:
        return None
    if not isinstance(parameters, dict):
        raise InvalidInput("parameters must be an object.", code="wrong_type", pointer=pointer)
    if any(key.startswith("shared_memory") for key in parameters):
        raise Forbidden("Tensors in shared memory are not read.", code="shared_memory_disabled", pointer=pointer)
    limits.check_fields(parameters, {"binary_data_size"}, pointer)
    size = parameters.get("binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        raise InvalidInput("binary_data_size must be a whole number.", code="wrong_type", pointer=pointer)
    return size


def _wanted(outputs: Any, contract: Contract, binary: bool) -> dict[str, bool] | None:
    """Return name -> whether it is to be binary, None for all outputs."""
    if outputs is None or outputs == []:
        return None
    known = {name for name, _, _ in COLUMNS[contract.task]}
    wanted: dict[str, bool] = {}
    for i, output in enumerate(outputs if isinstance(outputs, list) else [None]):
        at = f"/outputs/{i}"
        if not isinstance(output, dict) or not isinstance(output.get("name"), str):
            raise InvalidInput("outputs must be a list of objects with a name.", code="wrong_type", pointer=at)
        limits.check_fields(output, {"name", "parameters"}, at)
        if output["name"] not in known or output["name"] in wanted:
            raise InvalidInput(
                f"An output is asked for twice or does not exist. There are: {', '.join(sorted(known))}.",
                code="unknown_tensor",
                pointer=at,
            )
        given = output.get("parameters")
        given = given if isinstance(given, dict) else {}
        if any(key.startswith("shared_memory") for key in given):
            raise Forbidden("Tensors are not written to shared memory.", code="shared_memory_disabled", pointer=at)
        wanted[output["name"]] = given.get("binary_data", binary) is True
    return wanted


def _json(value: Any) -> Reply:
    return Reply(json.dumps(value).encode())


DIALECT = OpenInference()
