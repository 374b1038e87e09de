"""The dialect of OpenAI's API, as ``openai.OpenAI(base_url=".../models/NAME/v1")`` speaks it, where a task has a place in it.

::

    GET  v1/models  v1/models/NAME
    POST v1/audio/transcriptions        speech recognition: a form with file, model, response_format, ...
    POST v1/audio/speech                text to speech: see `_speaking`

Formats of transcripts: ``json``, ``text``, ``verbose_json``, ``srt`` and ``vtt``; in the last two each word is a cue. ``language``,
``prompt`` and ``temperature`` are taken and change nothing: a model here speaks one language and decodes greedily.
Errors are ``{"error": {"message", "type", "param", "code"}}``. Source: https://platform.openai.com/docs/api-reference/audio.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bigray.errors import BigrayError, InvalidInput, NotFound, RequestError, UnsupportedMedia
from bigray.schemas import Chunk, Contract, Transcript, TranscriptionParameters
from bigray.serve import limits
from bigray.serve.dialects import _speaking
from bigray.serve.dialects.base import About, Call, Dialect, Question, Reply
from bigray.serve.multipart import parse_form
from bigray.serve.openapi import operation

TRANSCRIPTIONS = "/v1/audio/transcriptions"
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
_FIELDS = {
    "file",
    "model",
    "response_format",
    "language",
    "prompt",
    "temperature",
    "timestamp_granularities[]",
    "stream",
}
_KINDS = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
_KINDS |= {429: "rate_limit_error"}


class OpenAI(Dialect):
    """See the module's text."""

    name = "openai"
    root = "/v1"

    def methods(self, path: str, about: About) -> tuple[str, ...]:
        """As listed above."""
        if path in {"/v1/models", f"/v1/models/{about.name}"}:
            return ("GET",)
        if path == _speaking.PATH:
            return ("POST",) if about.contract.file else ()
        return ("POST",) if path == TRANSCRIPTIONS and _transcribes(about.contract) else ()

    def accepts(self, contract: Contract) -> str:
        """A form, or JSON for what is to be spoken."""
        return "application/json" if contract.file else "multipart/form-data"

    def read(self, path: str, about: About) -> Reply | None:
        """The one model, or the list of it."""
        one = {"id": about.name, "object": "model", "created": about.created_s, "owned_by": "bigray"}
        told = {"object": "list", "data": [one]} if path == "/v1/models" else one
        return Reply(json.dumps(told).encode())

    def parse(self, question: Question, about: About) -> Call:
        """Read the form, or what is to be spoken."""
        if question.path == _speaking.PATH:
            return _speaking.parse(question, about)
        content_type = question.headers.get("content-type")
        if limits.media_type(content_type) != "multipart/form-data" or content_type is None:
            raise UnsupportedMedia("Send a form: multipart/form-data with file and model.")
        form = parse_form(question.body, content_type)
        limits.check_fields(form, _FIELDS, "/form")
        for name in ("file", "model"):
            if name not in form:
                raise InvalidInput(f"The form has no {name}.", code="missing_field", pointer=f"/{name}")
        if _text(form, "model") != about.name:
            raise NotFound(f"The model at this address is {about.name!r}.", code="model_not_found", pointer="/model")
        _one_of(form, "stream", "false", ("false",))
        _check_temperature(form)
        format_ = _one_of(form, "response_format", "json", FORMATS)
        times = [_plain(item) for item in form.get("timestamp_granularities[]", [])]
        if not set(times) <= {"word", "segment"}:
            raise InvalidInput(
                "timestamp_granularities are word and segment.",
                code="invalid_parameters",
                pointer="/timestamp_granularities",
            )
        sound = limits.check_media(form["file"][0], "audio", "/file")
        parameters = TranscriptionParameters(return_timestamps=format_ in {"srt", "verbose_json", "vtt"})
        return Call([{"audio": sound}], parameters, many=False, wish=(format_, times))

    def render(self, answers: Sequence[Any], call: Call, about: About) -> Reply:
        """Write the transcript or the sound in the format asked for."""
        if about.contract.file:
            return _speaking.render(answers[0], call)
        heard: Transcript = answers[0]
        format_, times = call.wish
        words = heard.chunks or []
        if format_ == "json":
            return _json({"text": heard.text})
        if format_ == "text":
            return Reply(f"{heard.text}\n".encode(), "text/plain")
        if format_ == "verbose_json":
            return _json(_verbose(heard.text, words, times))
        cues = "\n".join(_cue(i, word, format_) for i, word in enumerate(words, 1))
        head = "WEBVTT\n\n" if format_ == "vtt" else ""
        return Reply((head + cues).encode(), "text/vtt" if format_ == "vtt" else "text/plain")

    def problem(self, error: BigrayError, request_id: str) -> tuple[str, bytes]:
        """An object under ``error``; clients raise by status and show its message."""
        kind = _KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
        param = error.pointer.strip("/") if error.pointer else None
        told = {"message": error.detail[:1000], "type": kind, "param": param, "code": error.code}
        return "application/json", json.dumps({"error": told | {"request_id": request_id}}).encode()

    def describe(self, about: About) -> dict[str, Any]:
        """The list of models, and transcriptions or speech where the model does them."""
        paths: dict[str, Any] = {"/v1/models": {"get": operation("The model, as a list", {"type": "object"})}}
        if about.contract.file:
            paths[_speaking.PATH] = {"post": _speaking.describe(about)}
        if _transcribes(about.contract):
            form = {
                "type": "object",
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "model": {"const": about.name},
                    "response_format": {"enum": list(FORMATS), "default": "json"},
                    "timestamp_granularities[]": {"type": "array", "items": {"enum": ["word", "segment"]}},
                },
                "required": ["file", "model"],
            }
            answer = {"type": "object", "properties": {"text": {"type": "string"}}}
            content = {"multipart/form-data": {"schema": form}}
            paths[TRANSCRIPTIONS] = {"post": operation("Transcribe, in the form of OpenAI's API", answer, content)}
        return paths


def _transcribes(contract: Contract) -> bool:
    return contract.parameters is TranscriptionParameters


def _text(form: dict[str, list[bytes]], name: str) -> str | None:
    return _plain(form[name][0]) if name in form else None


def _plain(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise RequestError("A field of the form is not UTF-8.", code="invalid_utf8") from None


def _one_of(form: dict[str, list[bytes]], name: str, default: str, known: Sequence[str]) -> str:
    value = _text(form, name)
    if value is None:
        return default
    if value.lower() not in known:
        raise InvalidInput(f"{name} is one of: {', '.join(known)}.", code="invalid_parameters", pointer=f"/{name}")
    return value.lower()


def _check_temperature(form: dict[str, list[bytes]]) -> None:
    try:
        good = 0 <= float(_text(form, "temperature") or 0) <= 1
    except ValueError:
        good = False
    if not good:
        raise InvalidInput("temperature is from 0 to 1.", code="invalid_parameters", pointer="/temperature")


def _verbose(text: str, words: Sequence[Chunk], times: Sequence[str]) -> dict[str, Any]:
    end_s = words[-1].timestamp[1] if words else 0.0
    told: dict[str, Any] = {"task": "transcribe", "language": "unknown", "duration": end_s, "text": text}
    if "word" in times:
        told["words"] = [{"word": w.text, "start": w.timestamp[0], "end": w.timestamp[1]} for w in words]
    if "segment" in times or not times:
        start_s = words[0].timestamp[0] if words else 0.0
        told["segments"] = [{"id": 0, "start": start_s, "end": end_s, "text": text}] if words else []
    return told


def _cue(number: int, word: Chunk, format_: str) -> str:
    start, end = (_clock(seconds, "," if format_ == "srt" else ".") for seconds in word.timestamp)
    first = f"{number}\n" if format_ == "srt" else ""
    return f"{first}{start} --> {end}\n{word.text}\n"


def _clock(seconds: float, point: str) -> str:
    whole_ms = round(seconds * 1000)
    minutes, ms = divmod(whole_ms, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{ms // 1000:02}{point}{ms % 1000:03}"


def _json(value: Any) -> Reply:
    return Reply(json.dumps(value, ensure_ascii=False).encode())


DIALECT = OpenAI()
