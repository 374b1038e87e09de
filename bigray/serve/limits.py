"""What a request may be: size, JSON, base64, text and kind of file, checked before anything is decoded.

Every refusal has a stable ``code`` and never repeats what was sent. The checks are plain functions of bytes: no web
framework and no task is known here. Images and sounds are only recognised by their first bytes; decoding them within
bounds is the task's own work.
"""

from __future__ import annotations

import binascii
import json
import math
from collections.abc import AsyncIterable, Mapping
from typing import Any, Literal

from pydantic import ValidationError

from bigray.errors import InvalidInput, RequestError, TooLarge, UnsupportedMedia
from bigray.schemas import Wire

MAX_ITEMS = 256
"""Inputs in one request."""
MAX_CHARACTERS = 100_000
"""Characters of one text."""
MAX_DEPTH = 100
"""Nesting of lists and objects in JSON."""
MAX_CHUNKS = 65_536
"""Pieces of one body; a real client sends about one per 64 KiB."""

Media = Literal["image", "audio"]

_STARTS: dict[Media, tuple[bytes, ...]] = {
    "image": (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM"),
    "audio": (b"fLaC", b"OggS", b"ID3"),
}
_IN_RIFF: dict[Media, bytes] = {"image": b"WEBP", "audio": b"WAVE"}
ACCEPTED_MEDIA: dict[Media, str] = {"image": "PNG, JPEG, WebP, GIF or BMP", "audio": "WAV, FLAC, OGG or MP3"}


async def read_body(chunks: AsyncIterable[bytes], declared: str | None, max_bytes: int) -> bytes:
    """Collect a body; a declared or real length over ``max_bytes`` ends the reading.

    Raises:
        TooLarge: ``body_too_large``.
        RequestError: ``bad_framing`` for a length that is no number, ``too_many_chunks``.
    """
    if declared is not None:
        if not (declared.isascii() and declared.isdigit()) or len(declared) > 19:
            raise RequestError("Content-Length is not a whole number.", code="bad_framing")
        if int(declared) > max_bytes:
            raise _body_too_large(max_bytes)
    pieces: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise _body_too_large(max_bytes)
        pieces.append(chunk)
        if len(pieces) > MAX_CHUNKS:
            raise too_many_chunks()
    return b"".join(pieces)


def too_many_chunks() -> RequestError:
    """Return the refusal of a body in crumbs."""
    return RequestError(f"The body came in over {MAX_CHUNKS} pieces. Send it in larger ones.", code="too_many_chunks")


def _body_too_large(max_bytes: int) -> TooLarge:
    return TooLarge(
        f"The body is over {max_bytes} bytes, the limit here. Send fewer or smaller inputs.", code="body_too_large"
    )


def media_type(content_type: str | None) -> str | None:
    """Return the bare lower-case media type, None when there is none; only UTF-8 is accepted as charset.

    Raises:
        UnsupportedMedia: ``unsupported_charset``.
    """
    if content_type is None or not content_type.strip():
        return None
    kind, *parameters = content_type.split(";")
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset" and value.strip().strip('"').lower() not in {"utf-8", "utf8"}:
            raise UnsupportedMedia("Only the charset utf-8 is accepted.", code="unsupported_charset")
    return kind.strip().lower()


def check_encoding(content_encoding: str | None) -> None:
    """Refuse compressed bodies: a few bytes of gzip can hold gigabytes.

    Raises:
        UnsupportedMedia: ``unsupported_encoding``.
    """
    if content_encoding is not None and content_encoding.strip().lower() not in {"", "identity"}:
        raise UnsupportedMedia(
            "Compressed bodies are not accepted. Send the body as it is.", code="unsupported_encoding"
        )


def parse_json(body: bytes) -> Any:
    """Parse strictly: UTF-8 without BOM, no key twice, no NaN or infinity, no lone surrogates, bounded nesting.

    Raises:
        RequestError: ``empty_body``, ``invalid_utf8``, ``invalid_json``, ``duplicate_key``, ``too_deep``.
        InvalidInput: ``non_finite``, ``invalid_text``.
    """
    if not body.strip():
        raise RequestError("The body is empty; JSON was expected.", code="empty_body")
    if body.startswith(b"\xef\xbb\xbf"):
        raise RequestError("The body starts with a byte order mark. Send plain UTF-8.", code="invalid_json")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"The body is not UTF-8 text at byte {error.start}.", code="invalid_utf8") from None
    try:
        value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except json.JSONDecodeError as error:
        raise RequestError(
            f"The body is not JSON: {error.msg} at character {error.pos}.", code="invalid_json"
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # int() refuses numbers of more than 4300 digits
        raise RequestError("The body holds a number of too many digits.", code="invalid_json") from None
    _check_values(value, surrogates=b"\\u" in body)
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise RequestError("An object in the body has the same key twice.", code="duplicate_key")
    return mapping


def _no_constants(_: str) -> Any:
    raise _non_finite()


def _non_finite() -> InvalidInput:
    return InvalidInput("The body holds NaN, infinity, or a number too large to hold.", code="non_finite")


def _too_deep() -> RequestError:
    return RequestError(f"The body is nested deeper than {MAX_DEPTH} levels.", code="too_deep")


def _check_values(value: Any, *, surrogates: bool) -> None:
    # by hand and not by recursion: the depth of a stranger's document must not become the depth of our stack
    level: list[Any] = [[value]]
    depth = -1
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        below = []
        for container in level:
            children = container
            if isinstance(container, dict):
                children = container.values()
                if surrogates:
                    for key in container:
                        _check_surrogates(key)
            for child in children:
                if isinstance(child, dict | list):
                    below.append(child)
                elif isinstance(child, float):
                    if not math.isfinite(child):
                        raise _non_finite()
                elif surrogates and isinstance(child, str):
                    _check_surrogates(child)
        level = below


def _check_surrogates(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput("The body holds a lone surrogate, which is no character.", code="invalid_text") from None


def check_text(value: Any, pointer: str) -> str:
    """Return the text.

    Raises:
        InvalidInput: ``wrong_type`` or ``empty_text`` (nothing, or nothing to be seen).
        TooLarge: ``text_too_long``.
    """
    if not isinstance(value, str):
        raise InvalidInput("An input must be text.", code="wrong_type", pointer=pointer)
    if len(value) > MAX_CHARACTERS:
        raise TooLarge(
            f"A text has {len(value)} characters; at most {MAX_CHARACTERS} are accepted.",
            code="text_too_long",
            pointer=pointer,
        )
    if not value.strip(_INVISIBLE):
        raise InvalidInput("A text is empty.", code="empty_text", pointer=pointer)
    return value


_INVISIBLE = "".join(chr(code) for code in range(0x3001) if chr(code).isspace()) + "\u200b\u200c\u200d\u2060\ufeff\x00"
"""White space and zero-width characters."""


def decode_base64(value: Any, kind: Media, pointer: str) -> bytes:
    """Return the bytes of a base64 text or a ``data:`` URL of the right kind. Nothing is ever fetched.

    Raises:
        InvalidInput: ``wrong_type``, ``url_inputs_disabled``.
        RequestError: ``invalid_base64``.
        UnsupportedMedia: A ``data:`` URL of another kind.
    """
    if not isinstance(value, str):
        raise InvalidInput("An input must be base64 text.", code="wrong_type", pointer=pointer)
    head = value[:64].lower()
    if head.startswith("data:"):
        declaration, comma, value = value.partition(",")
        if not comma or not declaration.lower().startswith(f"data:{kind}/") or not declaration.endswith(";base64"):
            raise UnsupportedMedia(f"A data URL must be data:{kind}/...;base64.", pointer=pointer)
    elif ":/" in head or head.startswith("//"):
        raise InvalidInput(
            f"Addresses are not fetched. Send the {kind} itself, as bytes or base64.",
            code="url_inputs_disabled",
            pointer=pointer,
        )
    try:
        return binascii.a2b_base64(value.encode("ascii"), strict_mode=True)
    except ValueError:
        raise RequestError("An input is not valid base64.", code="invalid_base64", pointer=pointer) from None


def check_media(data: bytes, kind: Media, pointer: str = "/inputs") -> bytes:
    """Return the data when its first bytes are those of an accepted kind of file.

    Raises:
        InvalidInput: ``empty_media``.
        UnsupportedMedia: Anything else.
    """
    if not data:
        raise InvalidInput(f"The {kind} has no bytes.", code="empty_media", pointer=pointer)
    known = data.startswith(_STARTS[kind]) or (data[:4] == b"RIFF" and data[8:12] == _IN_RIFF[kind])
    if kind == "audio" and not known:  # MP3 without a tag starts with a frame header: eleven set bits
        known = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0
    if not known:
        raise UnsupportedMedia(f"The {kind} must be a file of kind {ACCEPTED_MEDIA[kind]}.", pointer=pointer)
    return data


def check_fields(value: Mapping[str, Any], known: set[str], pointer: str) -> None:
    """Refuse fields that nobody reads.

    Raises:
        InvalidInput: ``unknown_field``; the name itself is the caller's text and is not repeated.
    """
    if set(value) - known:
        raise InvalidInput(
            f"{pointer or 'The body'} has a field that is not known. Known: {', '.join(sorted(known))}.",
            code="unknown_field",
            pointer=pointer,
        )


def parse_parameters(value: Any, kind: type[Wire]) -> Wire | None:
    """Return the parameters of a task, None when there are none.

    Raises:
        InvalidInput: ``wrong_type``, ``unknown_field``, ``invalid_parameters`` (naming each field at fault).
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidInput("parameters must be an object.", code="wrong_type", pointer="/parameters")
    check_fields(value, set(kind.model_fields), "/parameters")
    try:
        return kind.model_validate(value) if value else None
    except ValidationError as error:
        errors = [
            {"pointer": "/parameters/" + "/".join(map(str, item["loc"])), "code": item["type"], "detail": item["msg"]}
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    detail = "; ".join(f"{item['pointer']}: {item['detail']}" for item in errors)
    raise InvalidInput(f"Parameters are not valid. {detail}.", code="invalid_parameters", errors=errors)
