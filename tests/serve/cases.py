"""Malformed requests, with the exact status and code each must come to. ``SECRET`` must never come back."""

from __future__ import annotations

import base64
import io
import json
import math
import struct
from dataclasses import dataclass, field
from typing import Any

SECRET = "sk-SECRET-123"
JSON = {"content-type": "application/json"}
GOOD_TEXT = {"inputs": "a good film"}


@dataclass(frozen=True)
class Case:
    name: str
    status: int
    code: str
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))
    method: str = "POST"
    model: str = "texts"
    path: str = ""

    def __str__(self) -> str:
        return self.name


def _json(name: str, status: int, code: str, body: Any, **more: Any) -> Case:
    return Case(name, status, code, json.dumps(body).encode(), **more)


def _raw(name: str, status: int, code: str, content: bytes, **more: Any) -> Case:
    return Case(name, status, code, content, **more)


def png(width: int = 8, height: int = 8) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


def huge_png() -> bytes:
    """A few bytes that claim 65535 x 65535 pixels."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def wide_png() -> bytes:
    """One pixel high, sixty million wide, one bit each: 69 bytes that would be a gigabyte of floats."""
    return _png(60_000_000, 1, 1, b"\0")


def _png(width: int, height: int, depth: int, pixels: bytes, extra: bytes = b"") -> bytes:
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    bomb = chunk(b"zTXt", b"a\0\0" + extra) if extra else b""
    body = chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + bomb + body


def text_bomb() -> bytes:
    """A one-pixel image with a comment that inflates to 50 MB."""
    import zlib

    return _png(1, 1, 8, b"\0\0", zlib.compress(b"a" * 50_000_000))


def long_gif() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    frames = [Image.new("L", (4, 4), i) for i in range(40)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def wav(rate: int = 16_000, channels: int = 1, data: bytes = b"\0\0" * 400, code: int = 1, bits: int = 16) -> bytes:
    """A WAV file whose header says what it is told to say."""
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, min(rate * frame, 2**32 - 1), min(frame, 65_535), bits)
    inner = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


def silence() -> bytes:
    """Eleven minutes of silence in a few kilobytes."""
    import numpy as np
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.zeros(660 * 8000, np.int16), 8000, format="FLAC")
    return file.getvalue()


NESTED_101 = b'{"inputs":' + b"[" * 101 + b"]" * 101 + b"}"
NESTED_100K = b"[" * 100_000 + b"]" * 100_000

CASES = [
    # HTTP
    _raw("delete", 405, "method_not_allowed", b"", method="DELETE"),
    _raw("put", 405, "method_not_allowed", b"{}", method="PUT"),
    _raw("options", 405, "method_not_allowed", b"", method="OPTIONS"),
    _raw("post_to_healthz", 405, "method_not_allowed", b"{}", path="/healthz"),
    _raw("path_below_model", 404, "not_found", b"{}", path="/nothing"),
    _raw("dots_below_model", 404, "not_found", b"{}", path="/..%2f..%2fetc/passwd"),
    _raw("gzip", 415, "unsupported_encoding", b"\x1f\x8b\x08", headers=JSON | {"content-encoding": "gzip"}),
    _raw("trace", 405, "method_not_allowed", b"", method="TRACE"),
    _raw("patch", 405, "method_not_allowed", b"{}", method="PATCH"),
    _raw("timeout_of_words", 422, "invalid_timeout", b"{}", headers=JSON | {"x-bigray-timeout-ms": "soon"}),
    _raw("body_too_large", 413, "body_too_large", b'{"inputs":"' + b"a" * 1_100_000 + b'"}'),
    # JSON
    _raw("empty", 400, "empty_body", b""),
    _raw("blank", 400, "empty_body", b" \n"),
    _raw("cut_off", 400, "invalid_json", b'{"inputs":'),
    _raw("trailing_comma", 400, "invalid_json", b'{"inputs":"a",}'),
    _raw("comment", 400, "invalid_json", b'{"inputs":"a"} // no'),
    _raw("single_quotes", 400, "invalid_json", b"{'inputs':'a'}"),
    _raw("newline_in_text", 400, "invalid_json", b'{"inputs":"a\nb"}'),
    _raw("trailing_data", 400, "invalid_json", b'{"inputs":"a"} x'),
    _raw("byte_order_mark", 400, "invalid_json", b'\xef\xbb\xbf{"inputs":"a"}'),
    _raw("utf16", 400, "invalid_utf8", '{"inputs":"a"}'.encode("utf-16")),
    _raw("byte_ff", 400, "invalid_utf8", b'{"inputs":"\xff"}'),
    _raw("duplicate_key", 400, "duplicate_key", b'{"inputs":"a","inputs":"b"}'),
    _raw("nan", 422, "non_finite", b'{"inputs":"a","parameters":{"top_k":NaN}}'),
    _raw("infinity", 422, "non_finite", b'{"inputs":"a","parameters":{"top_k":-Infinity}}'),
    _raw("1e999", 422, "non_finite", b'{"inputs":"a","parameters":{"top_k":1e999}}'),
    _raw("lone_surrogate", 422, "invalid_text", b'{"inputs":"\\ud800"}'),
    _raw("nested_101", 400, "too_deep", NESTED_101),
    _raw("nested_100k", 400, "too_deep", NESTED_100K),
    _raw("int_of_5000_digits", 400, "invalid_json", b'{"inputs":' + b"1" * 5000 + b"}"),
    _json("top_level_list", 422, "wrong_type", ["a"]),
    _json("top_level_null", 422, "wrong_type", None),
    _json("no_inputs", 422, "missing_field", {}),
    _json("unknown_field", 422, "unknown_field", {"inputs": "a", SECRET: 1}),
    _json("proto", 422, "unknown_field", {"inputs": "a", "__proto__": {}}),
    _json("many_keys", 422, "unknown_field", {f"key{i}": i for i in range(50_000)}),
    _json("number_as_text", 422, "wrong_type", {"inputs": 7}),
    _json("object_as_text", 422, "wrong_type", {"inputs": {"text": SECRET}}),
    _json("floats", 422, "too_many_items", {"inputs": [0.5] * 100_000}),
    _json("list_in_list", 422, "wrong_type", {"inputs": [["a"]]}),
    # content types
    _raw("no_content_type", 415, "unsupported_media", b'{"inputs":"a"}', headers={}),
    _raw("text_plain", 415, "unsupported_media", b"a", headers={"content-type": "text/plain"}),
    _raw("form", 415, "unsupported_media", b"inputs=a", headers={"content-type": "application/x-www-form-urlencoded"}),
    _raw(
        "charset_utf16", 415, "unsupported_charset", b"{}", headers={"content-type": "application/json; charset=utf-16"}
    ),
    # text
    _json("empty_text", 422, "empty_text", {"inputs": ""}),
    _json("zero_width", 422, "empty_text", {"inputs": " \u200b\t"}),
    _json("text_too_long", 413, "text_too_long", {"inputs": "a" * 100_001}),
    _json("no_items", 422, "empty_inputs", {"inputs": []}),
    _json("257_items", 422, "too_many_items", {"inputs": ["a"] * 257}),
    _json("one_bad_of_eight", 422, "empty_text", {"inputs": ["a"] * 7 + [" "]}),
    # parameters
    _json("parameters_list", 422, "wrong_type", {"inputs": "a", "parameters": []}),
    _json("unknown_parameter", 422, "unknown_field", {"inputs": "a", "parameters": {"topk": 1}}),
    _json("top_k_zero", 422, "invalid_parameters", {"inputs": "a", "parameters": {"top_k": 0}}),
    _json("top_k_huge", 422, "invalid_parameters", {"inputs": "a", "parameters": {"top_k": 10**30}}),
    _json("top_k_text", 422, "invalid_parameters", {"inputs": "a", "parameters": {"top_k": SECRET}}),
    _json("top_k_true", 422, "invalid_parameters", {"inputs": "a", "parameters": {"top_k": True}}),
    _json("top_k_float", 422, "invalid_parameters", {"inputs": "a", "parameters": {"top_k": 1.0}}),
    _json("wrong_function", 422, "invalid_parameters", {"inputs": "a", "parameters": {"function_to_apply": SECRET}}),
    # questions
    _json("question_as_text", 422, "wrong_type", {"inputs": SECRET}, model="questions"),
    _json("no_context", 422, "missing_field", {"inputs": {"question": "who?"}}, model="questions"),
    _json("empty_question", 422, "empty_text", {"inputs": {"question": " ", "context": "a"}}, model="questions"),
    _json(
        "third_field", 422, "unknown_field", {"inputs": {"question": "a", "context": "b", SECRET: 1}}, model="questions"
    ),
    _json(
        "long_context", 413, "text_too_long", {"inputs": {"question": "a", "context": "a" * 100_001}}, model="questions"
    ),
    # images
    _raw("no_bytes", 422, "empty_media", b"", headers={}, model="images"),
    _raw("html_as_png", 415, "unsupported_media", b"<html>", headers={"content-type": "image/png"}, model="images"),
    _raw("svg", 415, "unsupported_media", b"<svg/>", headers={}, model="images"),
    _raw("postscript", 415, "unsupported_media", b"%!PS-Adobe-3.0 EPSF", headers={}, model="images"),
    _raw("pickle", 415, "unsupported_media", b"\x80\x04\x95", headers={}, model="images"),
    _raw("audio_to_image", 415, "unsupported_media", b"fLaC", headers={"content-type": "audio/flac"}, model="images"),
    _raw("cut_off_png", 422, "corrupt_image", png()[:40], headers={}, model="images"),
    _raw("huge_png", 413, "image_too_large", huge_png(), headers={}, model="images"),
    _raw("wide_png", 413, "image_too_large", wide_png(), headers={}, model="images"),
    _raw("many_megapixels", 413, "image_too_large", _png(13_000, 13_000, 1, b"\0"), headers={}, model="images"),
    _raw("no_pixels", 422, "corrupt_image", _png(0, 0, 8, b""), headers={}, model="images"),
    _raw("text_bomb", 422, "corrupt_image", text_bomb(), headers={}, model="images"),
    _raw("long_gif", 422, "too_many_frames", long_gif(), headers={}, model="images"),
    _raw("tiff", 415, "unsupported_media", b"II*\0", headers={}, model="images"),
    _raw("pdf", 415, "unsupported_media", b"%PDF-1.7", headers={}, model="images"),
    _raw("numpy", 415, "unsupported_media", b"\x93NUMPY\1\0", headers={}, model="images"),
    _raw("zip", 415, "unsupported_media", b"PK\3\4", headers={}, model="images"),
    _json("video_url", 415, "unsupported_media", {"inputs": "data:video/jpeg;base64,aGk="}, model="images"),
    _json("junk_base64", 400, "invalid_base64", {"inputs": "aGVsbG8$$$=!"}, model="images"),
    _json("unpadded_base64", 400, "invalid_base64", {"inputs": "aGVsbG8"}, model="images"),
    _json("base64_of_text", 415, "unsupported_media", {"inputs": b64(b"hello")}, model="images"),
    _json("data_url_html", 415, "unsupported_media", {"inputs": "data:text/html;base64,aGk="}, model="images"),
    _json("http_url", 422, "url_inputs_disabled", {"inputs": "http://169.254.169.254/"}, model="images"),
    _json("file_url", 422, "url_inputs_disabled", {"inputs": "file:///etc/passwd"}, model="images"),
    _json("image_number", 422, "wrong_type", {"inputs": 1}, model="images"),
    _json("bad_second", 422, "corrupt_image", {"inputs": [b64(png()), b64(png()[:40])]}, model="images"),
    # sound
    _raw("no_sound", 422, "empty_media", b"", headers={}, model="speech"),
    _raw("playlist", 415, "unsupported_media", b"#EXTM3U\nfile:///etc/passwd", headers={}, model="speech"),
    _raw("thousand_channels", 422, "bad_channels", wav(channels=1024), headers={}, model="speech"),
    _raw("no_channels", 422, "corrupt_audio", wav(channels=0), headers={}, model="speech"),
    _raw("one_hertz", 422, "bad_sample_rate", wav(rate=1), headers={}, model="speech"),
    _raw("two_gigahertz", 422, "bad_sample_rate", wav(rate=2**31 - 1), headers={}, model="speech"),
    _raw("no_samples", 422, "empty_audio", wav(data=b""), headers={}, model="speech"),
    _raw(
        "nan_samples",
        422,
        "non_finite",
        wav(code=3, bits=32, data=struct.pack("<f", math.nan) * 400),
        headers={},
        model="speech",
    ),
    _raw("much_silence", 413, "audio_too_long", silence(), headers={}, model="speech"),
    _raw("video", 415, "unsupported_media", b"\0\0\0\x18ftypmp42", headers={}, model="speech"),
    _raw("broken_wav", 422, "corrupt_audio", b"RIFF\x04\0\0\0WAVE", headers={}, model="speech"),
    _raw("id3_only", 422, "corrupt_audio", b"ID3" + b"\0" * 100, headers={}, model="speech"),
    _raw("image_as_sound", 415, "unsupported_media", png(), headers={}, model="speech"),
]


def check_problem(status: int, headers: Any, body: bytes, case: Case) -> None:
    """Hold a response against what the case wants and against the form of every error."""
    document = json.loads(body)
    assert (status, document.get("code")) == (case.status, case.code), document
    assert headers["content-type"] == "application/problem+json"
    assert document["status"] == status
    assert document["detail"] == document["error"]
    assert headers["x-request-id"] == document["request_id"]
    assert len(body) <= 4096
    text = body.decode()
    assert SECRET not in text
    assert "Traceback" not in text
    assert "bigray/" not in text
    if status == 405:
        assert "GET" in headers["allow"]
    if status == 415:
        assert "application/json" in headers["accept-post"]
