"""The dialect of Hugging Face's inference API, as ``huggingface_hub.InferenceClient(model=URL)`` speaks it.

A request is ``{"inputs": ..., "parameters": {...}}``, or for images and audio the bare bytes of a file, which that
client sends without a Content-Type. ``inputs`` is a text, or the base64 of a file; a list of them is a batch, answered
by a list. Answers have the shapes that client parses: text classification of a single text is nested once more,
``[[{label, score}, ...]]``. Source: https://huggingface.co/docs/inference-providers/tasks/index.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from bigray.errors import BigrayError, InvalidInput, UnsupportedMedia
from bigray.schemas import Contract, Wire
from bigray.serve import limits
from bigray.serve.dialects.base import Call, Dialect
from bigray.serve.problems import CONTENT_TYPE, problem_body

_MAX_ERRORS = 8
"""Fields named in one problem document."""


class HuggingFace(Dialect):
    """See the module's text."""

    name = "huggingface"

    def matches(self, path: str) -> bool:
        """The model's own address."""
        return path in {"", "/"}

    def accepts(self, contract: Contract) -> str:
        """JSON, and for media the media itself."""
        if contract.field == "text":
            return "application/json"
        return f"application/json, {contract.field}/*, application/octet-stream"

    def parse(self, body: bytes, content_type: str | None, contract: Contract) -> Call:
        """Tell JSON from bare bytes by the Content-Type; without one, a media task reads bytes."""
        kind = limits.media_type(content_type)
        if kind == "application/json":
            return _parse_json(limits.parse_json(body), contract)
        if contract.field != "text" and (
            kind in {None, "application/octet-stream"} or str(kind).startswith(f"{contract.field}/")
        ):
            return Call([{contract.field: limits.check_media(body, contract.field, "")}], None, many=False)
        raise UnsupportedMedia(f"Send {self.accepts(contract)}; the Content-Type says otherwise or is missing.")

    def render(self, answers: Sequence[Any], call: Call, contract: Contract) -> bytes:
        """One answer, or a list of answers when the inputs were a list."""
        parts = [contract.output.dump_json(answer, exclude_none=True) for answer in answers]
        if call.many or contract.nested:
            return b"[" + b",".join(parts) + b"]"
        return parts[0]

    def problem(self, error: BigrayError, request_id: str) -> tuple[str, bytes]:
        """RFC 9457; that client shows its member ``error``."""
        return CONTENT_TYPE, json.dumps(problem_body(error, request_id), ensure_ascii=False).encode()


def _parse_json(value: Any, contract: Contract) -> Call:
    if not isinstance(value, dict):
        raise InvalidInput('The body must be an object: {"inputs": ...}.', code="wrong_type", pointer="")
    _check_fields(value, {"inputs", "parameters"}, "")
    if "inputs" not in value:
        raise InvalidInput("The body has no inputs.", code="missing_field", pointer="/inputs")
    parameters = _parse_parameters(value.get("parameters"), contract)
    inputs = value["inputs"]
    if not isinstance(inputs, list):
        return Call([_row(inputs, contract, "/inputs")], parameters, many=False)
    if not 1 <= len(inputs) <= limits.MAX_ITEMS:
        raise InvalidInput(
            f"A request holds 1 to {limits.MAX_ITEMS} inputs, this one {len(inputs)}.",
            code="too_many_items" if inputs else "empty_inputs",
            pointer="/inputs",
        )
    return Call([_row(item, contract, f"/inputs/{i}") for i, item in enumerate(inputs)], parameters, many=True)


def _row(value: Any, contract: Contract, pointer: str) -> dict[str, Any]:
    if contract.input is not None:
        if not isinstance(value, dict):
            form = ", ".join(f'"{name}": ...' for name in contract.fields)
            raise InvalidInput(f"An input must be an object: {{{form}}}.", code="wrong_type", pointer=pointer)
        _check_fields(value, set(contract.fields), pointer)
        for name in contract.fields:
            if name not in value:
                raise InvalidInput(f"An input has no {name}.", code="missing_field", pointer=f"{pointer}/{name}")
        return {name: limits.check_text(value[name], f"{pointer}/{name}") for name in contract.fields}
    if contract.field == "text":
        return {"text": limits.check_text(value, pointer)}
    data = limits.decode_base64(value, contract.field, pointer)
    return {contract.field: limits.check_media(data, contract.field, pointer)}


def _parse_parameters(value: Any, contract: Contract) -> Wire | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidInput("parameters must be an object.", code="wrong_type", pointer="/parameters")
    _check_fields(value, set(contract.parameters.model_fields), "/parameters")
    try:
        return contract.parameters.model_validate(value) if value else None
    except ValidationError as error:
        errors = [
            {"pointer": "/parameters/" + "/".join(map(str, item["loc"])), "code": item["type"], "detail": item["msg"]}
            for item in error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_ERRORS]
        ]
    detail = "; ".join(f"{item['pointer']}: {item['detail']}" for item in errors)
    raise InvalidInput(f"Parameters are not valid. {detail}.", code="invalid_parameters", errors=errors)


def _check_fields(value: dict[str, Any], known: set[str], pointer: str) -> None:
    # the unknown name itself is the caller's text and is not repeated
    if set(value) - known:
        where = pointer or "The body"
        raise InvalidInput(
            f"{where} has a field that is not known. Known: {', '.join(sorted(known))}.",
            code="unknown_field",
            pointer=pointer,
        )


DIALECT = HuggingFace()
