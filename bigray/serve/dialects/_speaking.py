"""Text to speech in the form of OpenAI's API: ``POST v1/audio/speech`` with model, input, voice, response_format, speed.

Formats: ``mp3`` (the default), ``opus``, ``flac``, ``wav`` and ``pcm`` (16 bits at 24 kHz, without a header). A model here has one
voice, so ``voice`` and ``instructions`` are taken and change nothing. Source:
https://platform.openai.com/docs/api-reference/audio/createSpeech.
"""

from __future__ import annotations

from typing import Any

from bigray.errors import InvalidInput, NotFound, UnsupportedMedia
from bigray.schemas import Speech, SpeechParameters
from bigray.serve import limits
from bigray.serve.dialects.base import About, Call, Question, Reply
from bigray.serve.openapi import operation
from bigray.tasks import _sound

PATH = "/v1/audio/speech"
_FIELDS = {"model", "input", "voice", "response_format", "speed", "instructions", "stream_format"}


def parse(question: Question, about: About) -> Call:
    """Read the request; raises as `Dialect.parse`."""
    if limits.media_type(question.headers.get("content-type")) != "application/json":
        raise UnsupportedMedia("Send application/json with model, input and voice.")
    body = limits.parse_json(question.body)
    if not isinstance(body, dict):
        raise InvalidInput('The body must be an object: {"model": ..., "input": ...}.', code="wrong_type", pointer="")
    limits.check_fields(body, _FIELDS, "")
    for name in ("model", "input"):
        if name not in body:
            raise InvalidInput(f"The body has no {name}.", code="missing_field", pointer=f"/{name}")
    if body["model"] != about.name:
        raise NotFound(f"The model at this address is {about.name!r}.", code="model_not_found", pointer="/model")
    format_ = body.get("response_format", "mp3")
    if not isinstance(format_, str) or format_ not in _sound.MEDIA_TYPES:
        known = ", ".join(_sound.MEDIA_TYPES)
        raise InvalidInput(
            f"response_format is one of: {known}.", code="invalid_parameters", pointer="/response_format"
        )
    if body.get("stream_format", "audio") != "audio":
        raise InvalidInput(
            "stream_format is audio; events are not sent.", code="invalid_parameters", pointer="/stream_format"
        )
    speed = body.get("speed", 1.0)
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not 0.25 <= speed <= 4:
        raise InvalidInput("speed is from 0.25 to 4.", code="invalid_parameters", pointer="/speed")
    text = limits.check_text(body["input"], "/input")
    return Call([{"text": text}], SpeechParameters(speed=float(speed)), many=False, wish=format_)


def render(answer: Speech, call: Call) -> Reply:
    """Write the sound in the format asked for."""
    return Reply(_sound.convert(answer.audio, call.wish), _sound.MEDIA_TYPES[call.wish])


def describe(about: About) -> dict[str, Any]:
    """Return the operation for an OpenAPI document."""
    body = {
        "type": "object",
        "properties": {
            "model": {"const": about.name},
            "input": {"type": "string", "minLength": 1, "maxLength": limits.MAX_CHARACTERS},
            "voice": {"type": "string"},
            "response_format": {"enum": list(_sound.MEDIA_TYPES), "default": "mp3"},
            "speed": {"type": "number", "minimum": 0.25, "maximum": 4, "default": 1},
        },
        "required": ["model", "input"],
    }
    found = operation("Speak, in the form of OpenAI's API", {}, {"application/json": {"schema": body}}, "audio/mpeg")
    content = found["responses"]["200"]["content"]
    content |= {kind: {"schema": {}} for kind in _sound.MEDIA_TYPES.values()}
    return found
