"""Checks that hold for every dialect."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from bigray.errors import BigrayError, RequestError, UnsupportedMedia
from bigray.serve import limits


def test_json_of_every_plain_kind() -> None:
    assert limits.parse_json('{"a": [1, 2.5, true, null, "\\u00e9é"]}'.encode()) == {"a": [1, 2.5, True, None, "éé"]}
    assert limits.parse_json(b"[" * 100 + b"]" * 100)


@pytest.mark.parametrize(
    "body",
    [b"[" * 5_000_000, b'{"a":' * 1_000_000, b"[[]" + b",[]" * 300_000 + b"]", b'"' + b'\\"' * 2_000_000],
    ids=["open", "objects", "pairs", "quotes"],
)
def test_hostile_json_is_judged_quickly(body: bytes) -> None:
    began = time.thread_time()  # not the wall clock: the machine may be busy
    with suppress(RequestError):
        limits.parse_json(body)
    assert time.thread_time() - began < 5


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        ("", None),
        ("Application/JSON", "application/json"),
        ('application/json; charset="UTF-8"', "application/json"),
        ("audio/x-wav; codec=1", "audio/x-wav"),
    ],
)
def test_media_type(value: str | None, wanted: str | None) -> None:
    assert limits.media_type(value) == wanted


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "image"),
        (b"\xff\xd8\xff\xe0", "image"),
        (b"RIFF1234WEBP", "image"),
        (b"GIF89a", "image"),
        (b"RIFF1234WAVE", "audio"),
        (b"fLaC", "audio"),
        (b"OggS", "audio"),
        (b"ID3\x04", "audio"),
        (b"\xff\xfb\x90", "audio"),
    ],
)
def test_signatures(data: bytes, kind: limits.Media) -> None:
    assert limits.check_media(data, kind) == data
    other: limits.Media = "audio" if kind == "image" else "image"
    with pytest.raises(UnsupportedMedia):
        limits.check_media(data, other)


@pytest.mark.parametrize("text", ["aGk=\n", "aGk", "aG k=", "aGk==", "=aGk", "aGk=aGk=", "_-8=", "é"])
def test_base64_is_strict(text: str) -> None:
    with pytest.raises(BigrayError) as caught:
        limits.decode_base64(text, "image", "/inputs")
    assert caught.value.code == "invalid_base64"


@pytest.mark.parametrize(
    "text", ["HTTP://a", "file:/etc", "//host/x", "ftp://a", "data:image/png,aaaa", "data:audio/wav;base64,aaaa"]
)
def test_addresses_are_refused(text: str) -> None:
    with pytest.raises(BigrayError) as caught:
        limits.decode_base64(text, "image", "/inputs")
    assert caught.value.code in {"url_inputs_disabled", "unsupported_media"}
