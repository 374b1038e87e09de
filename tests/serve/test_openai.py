"""OpenAI's dialect: transcriptions in every format, the list of models, and every refusal in its own form."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from asking import client
from cases import SECRET, png

from bigray.errors import RequestError
from bigray.schemas import Chunk, Transcript
from bigray.serve.dialects.base import About, Call
from bigray.serve.dialects.openai import DIALECT
from bigray.serve.multipart import parse_form
from bigray.serve.replica import Replica

PATH = "/v1/audio/transcriptions"


def ask(replica: Replica, method: str, path: str, **more: Any) -> httpx.Response:
    async def run() -> httpx.Response:
        async with client(replica) as http:
            return await http.request(method, path, **more)

    return asyncio.run(run())


def post(replica: Replica, sound: bytes, **data: Any) -> httpx.Response:
    return ask(replica, "POST", PATH, data={"model": "speech"} | data, files={"file": ("a.wav", sound)})


def test_every_format(replicas: dict[str, Replica], sound: bytes) -> None:
    text = ask(replicas["speech"], "POST", "", content=sound).json()["text"]
    assert post(replicas["speech"], sound).json() == {"text": text}
    assert post(replicas["speech"], sound, response_format="text").text == f"{text}\n"
    long = post(replicas["speech"], sound, response_format="verbose_json", **{"timestamp_granularities[]": "word"})
    assert long.json()["text"] == text
    assert isinstance(long.json()["words"], list)
    assert post(replicas["speech"], sound, response_format="vtt").text.startswith("WEBVTT")
    assert post(replicas["speech"], sound, language="en", prompt="x", temperature="0.2").status_code == 200


def test_cues(replicas: dict[str, Replica]) -> None:
    about: About = replicas["speech"].about
    heard = Transcript(
        text="a b", chunks=[Chunk(text="a", timestamp=(0.0, 0.5)), Chunk(text="b", timestamp=(61.5, 3700.25))]
    )

    def written(format_: str) -> str:
        return DIALECT.render([heard], Call([], None, many=False, wish=(format_, [])), about).body.decode()

    assert written("srt") == "1\n00:00:00,000 --> 00:00:00,500\na\n\n2\n00:01:01,500 --> 01:01:40,250\nb\n"
    assert written("vtt") == "WEBVTT\n\n00:00:00.000 --> 00:00:00.500\na\n\n00:01:01.500 --> 01:01:40.250\nb\n"


def test_models(replicas: dict[str, Replica]) -> None:
    listed = ask(replicas["texts"], "GET", "/v1/models").json()
    assert listed["data"] == [ask(replicas["texts"], "GET", "/v1/models/texts").json()]
    assert listed["data"][0]["created"] > 1_600_000_000


@pytest.mark.parametrize(
    ("data", "status", "code", "param"),
    [
        ({"model": SECRET}, 404, "model_not_found", "model"),
        ({"response_format": SECRET}, 422, "invalid_parameters", "response_format"),
        ({"temperature": "2"}, 422, "invalid_parameters", "temperature"),
        ({"temperature": SECRET}, 422, "invalid_parameters", "temperature"),
        ({"temperature": "nan"}, 422, "invalid_parameters", "temperature"),
        ({"stream": "true"}, 422, "invalid_parameters", "stream"),
        ({"timestamp_granularities[]": SECRET}, 422, "invalid_parameters", "timestamp_granularities"),
        ({SECRET: "1"}, 422, "unknown_field", "form"),
        ({"model": ["speech", "speech"]}, 422, "duplicate_key", None),
    ],
)
def test_refusals(
    data: dict[str, Any], status: int, code: str, param: str | None, replicas: dict[str, Replica], sound: bytes
) -> None:
    response = post(replicas["speech"], sound, **data)
    told = response.json()["error"]
    assert (response.status_code, told["code"], told["param"]) == (status, code, param), told
    assert SECRET not in response.text


def test_other_refusals(replicas: dict[str, Replica], sound: bytes) -> None:
    speech = replicas["speech"]
    cases: list[tuple[httpx.Response, int, str]] = [
        (post(speech, png()), 415, "unsupported_media"),
        (post(speech, b""), 422, "empty_media"),
        (post(speech, sound[:20]), 422, "corrupt_audio"),
        (ask(speech, "POST", PATH, json={}), 415, "unsupported_media"),
        (ask(speech, "POST", PATH, data={"model": "speech"}, files={"x": b""}), 422, "unknown_field"),
        (ask(speech, "GET", PATH), 405, "method_not_allowed"),
        (ask(speech, "POST", "/v1/embeddings", json={}), 404, "not_found"),
        (ask(replicas["texts"], "POST", PATH, json={}), 404, "not_found"),
    ]
    for response, status, code in cases:
        assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text
        assert response.json()["error"]["message"]


FORM = 'multipart/form-data; boundary="b b"'


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"x", "multipart/form-data"),
        (b"x", "multipart/form-data; boundary="),
        (b"x", "multipart/form-data; boundary=" + "b" * 71),
        (b"x", FORM),
        (b"--b b\r\n\r\n\r\n--b b", FORM),
        (b"--b b\r\n\r\nno name\r\n--b b--", FORM),
        (b'--b b\r\nContent-Disposition: form-data; name=""\r\n\r\nx\r\n--b b--', FORM),
        (b'--b b\r\nContent-Disposition: attachment; name="a"\r\n\r\nx\r\n--b b--', FORM),
        (b'--b b\r\nContent-Disposition: form-data; name="a"' + b" " * 5000 + b"\r\n\r\nx\r\n--b b--", FORM),
        (b'\r\n--b b\r\nContent-Disposition: form-data; name="a[]"\r\n\r\nx' * 40 + b"\r\n--b b--", FORM),
    ],
)
def test_broken_forms(body: bytes, content_type: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_form(body, content_type)
    assert caught.value.code == "bad_form"


def test_form() -> None:
    body = b'ignored\r\n--b b\r\nContent-Type: x/y\r\ncontent-disposition: form-data; name="a"; filename="../x"\r\n\r\n'
    assert parse_form(body + b"1\r\n--b\r\n2\r\n--b b--\r\n", FORM) == {"a": [b"1\r\n--b\r\n2"]}


def test_hostile_forms_are_judged_quickly() -> None:
    import time

    began = time.thread_time()
    with pytest.raises(RequestError):
        parse_form(b"\r\n--b b" * 1_000_000, FORM)
    assert time.thread_time() - began < 1
