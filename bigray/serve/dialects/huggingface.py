"""The dialect of Hugging Face's inference API, as ``huggingface_hub.InferenceClient(model=URL)`` speaks it.

A request is ``{"inputs": ..., "parameters": {...}}``, or for images and audio the bare bytes of a file, which that
client sends without a Content-Type. ``inputs`` is a text, or the base64 of a file; a list of them is a batch, answered
by a list. Answers have the shapes that client parses: text classification of a single text is nested once more,
``[[{label, score}, ...]]``. Speech is answered with the bytes of a file, or, to who accepts ``application/json`` alone or
sent a list, with base64 in an object. Source: https://huggingface.co/docs/inference-providers/tasks/index.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bigray.errors import BigrayError, InvalidInput, UnsupportedMedia
from bigray.schemas import Contract
from bigray.serve import limits
from bigray.serve.dialects.base import About, Call, Dialect, Question, Reply
from bigray.serve.openapi import operation
from bigray.serve.problems import CONTENT_TYPE, problem_body


class HuggingFace(Dialect):
    """See the module's text."""

    name = "huggingface"
    root = ""

    def methods(self, path: str, about: About) -> tuple[str, ...]:
        """The model's own address."""
        return ("GET", "POST")

    def accepts(self, contract: Contract) -> str:
        """JSON, and for media the media itself."""
        if contract.field == "text":
            return "application/json"
        return f"application/json, {contract.field}/*, application/octet-stream"

    def read(self, path: str, about: About) -> Reply | None:
        """The replica's own description."""
        return None

    def parse(self, question: Question, about: About) -> Call:
        """Tell JSON from bare bytes by the Content-Type; without one, a media task reads bytes."""
        contract = about.contract
        kind = limits.media_type(question.headers.get("content-type"))
        if kind == "application/json":
            call = _parse_json(limits.parse_json(question.body), contract)
            accepted = question.headers.get("accept", "")
            bare = "audio/" in accepted or "application/json" not in accepted
            return replace(call, wish="file" if contract.file and bare else None)
        if contract.field != "text" and (
            kind in {None, "application/octet-stream"} or str(kind).startswith(f"{contract.field}/")
        ):
            return Call([{contract.field: limits.check_media(question.body, contract.field, "")}], None, many=False)
        raise UnsupportedMedia(f"Send {self.accepts(contract)}; the Content-Type says otherwise or is missing.")

    def render(self, answers: Sequence[Any], call: Call, about: About) -> Reply:
        """One answer, or a list of answers when the inputs were a list; a file as it is."""
        contract = about.contract
        if call.wish == "file" and contract.file and not call.many:
            field, media_type = contract.file
            return Reply(getattr(answers[0], field), media_type)
        parts = [contract.output.dump_json(answer, exclude_none=True) for answer in answers]
        if call.many or contract.nested:
            return Reply(b"[" + b",".join(parts) + b"]")
        return Reply(parts[0])

    def problem(self, error: BigrayError, request_id: str) -> tuple[str, bytes]:
        """RFC 9457; that client shows its member ``error``."""
        return CONTENT_TYPE, json.dumps(problem_body(error, request_id), ensure_ascii=False).encode()

    def describe(self, about: About) -> dict[str, Any]:
        """One path: GET to see what is served, POST to predict."""
        contract = about.contract
        one: dict[str, Any] = {"type": "string", "minLength": 1}
        one |= {"maxLength": limits.MAX_CHARACTERS} if contract.field == "text" else {"contentEncoding": "base64"}
        if contract.input is not None:
            one = contract.input.model_json_schema()
        inputs = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": limits.MAX_ITEMS}]}
        body = {
            "type": "object",
            "properties": {"inputs": inputs, "parameters": contract.parameters.model_json_schema()},
            "required": ["inputs"],
            "additionalProperties": False,
        }
        content: dict[str, Any] = {"application/json": {"schema": body}}
        if contract.field != "text":
            content["application/octet-stream"] = {"schema": {}}
        answer = contract.output.json_schema()
        nested = {"type": "array", "items": answer}
        answers = nested if contract.nested else {"anyOf": [answer, nested]}
        post = operation("Predict, in the form of Hugging Face's inference API", answers, content)
        if contract.file is not None:
            post["responses"]["200"]["content"][contract.file[1]] = {"schema": {}}
        return {"": {"get": operation("What is served", {"type": "object"}), "post": post}}


def _parse_json(value: Any, contract: Contract) -> Call:
    if not isinstance(value, dict):
        raise InvalidInput('The body must be an object: {"inputs": ...}.', code="wrong_type", pointer="")
    limits.check_fields(value, {"inputs", "parameters"}, "")
    if "inputs" not in value:
        raise InvalidInput("The body has no inputs.", code="missing_field", pointer="/inputs")
    parameters = limits.parse_parameters(value.get("parameters"), contract.parameters)
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
        limits.check_fields(value, set(contract.fields), pointer)
        for name in contract.fields:
            if name not in value:
                raise InvalidInput(f"An input has no {name}.", code="missing_field", pointer=f"{pointer}/{name}")
        return {name: limits.check_text(value[name], f"{pointer}/{name}") for name in contract.fields}
    if contract.field == "text":
        return {"text": limits.check_text(value, pointer)}
    data = limits.decode_base64(value, contract.field, pointer)
    return {contract.field: limits.check_media(data, contract.field, pointer)}


DIALECT = HuggingFace()
