"""Text to speech through every door: bytes of a file where a player asks, JSON where a program does."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from asking import client

from bigray.predictor import Predictor
from bigray.schemas import Speech
from bigray.serve.replica import Replica

TEXT = "a small word"


@pytest.fixture(scope="module")
def replica(replicas: dict[str, Replica]) -> Replica:
    return replicas["readings"]


def post(replica: Replica, path: str, body: Any, **headers: str) -> httpx.Response:
    async def run() -> httpx.Response:
        async with client(replica) as http:
            return await http.post(path, json=body, headers={"accept": "*/*"} | headers)

    return asyncio.run(run())


def local(predictor: Predictor) -> Speech:
    answer: Speech = predictor.predict([{"text": TEXT}])[0]
    return answer


def test_the_bare_file_is_the_local_answer(replica: Replica) -> None:
    answer = post(replica, "", {"inputs": TEXT})
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.content == local(replica.predictor).audio
    samples, rate = soundfile.read(io.BytesIO(answer.content))
    assert rate == 16_000
    assert len(samples) > 0
    slow = post(replica, "", {"inputs": TEXT, "parameters": {"speed": 0.5}})
    assert len(slow.content) > 1.8 * len(answer.content)


def test_json_for_programs_and_lists(replica: Replica) -> None:
    whole = local(replica.predictor)
    one = post(replica, "", {"inputs": TEXT}, accept="application/json").json()
    assert one == {"audio": base64.b64encode(whole.audio).decode(), "sampling_rate": 16_000}
    many = post(replica, "", {"inputs": [TEXT, "another"]}).json()
    assert many[0] == one
    assert len(many) == 2


def test_a_page_that_takes_both_gets_the_file(replica: Replica) -> None:
    both = post(replica, "", {"inputs": TEXT}, accept="application/json, audio/*;q=0.9")
    assert both.headers["content-type"] == "audio/wav"


def test_refusals(replica: Replica) -> None:
    refused = post(replica, "", {"inputs": "\u4e2d\u6587"})
    assert (refused.status_code, refused.json()["code"]) == (422, "unspeakable_text")
    assert post(replica, "", {"inputs": TEXT, "parameters": {"speed": 9}}).json()["code"] == "invalid_parameters"
    assert post(replica, "", {"inputs": " "}).status_code == 422


@pytest.mark.parametrize(
    ("format_", "media_type", "start"),
    [
        (None, "audio/mpeg", b""),
        ("mp3", "audio/mpeg", b""),
        ("opus", "audio/ogg", b"OggS"),
        ("flac", "audio/flac", b"fLaC"),
        ("wav", "audio/wav", b"RIFF"),
        ("pcm", "audio/pcm", b""),
    ],
)
def test_formats_of_openai(format_: str | None, media_type: str, start: bytes, replica: Replica) -> None:
    body = {"model": "readings", "input": TEXT, "voice": "alloy"} | ({"response_format": format_} if format_ else {})
    answer = post(replica, "/v1/audio/speech", body)
    assert answer.headers["content-type"] == media_type
    assert answer.content.startswith(start)
    if format_ == "wav":
        assert answer.content == local(replica.predictor).audio
    elif format_ != "pcm":
        assert len(soundfile.read(io.BytesIO(answer.content))[0]) > 0


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"response_format": "aac"}, 422, "invalid_parameters"),
        ({"speed": 5}, 422, "invalid_parameters"),
        ({"speed": "fast"}, 422, "invalid_parameters"),
        ({"stream_format": "sse"}, 422, "invalid_parameters"),
        ({"model": "tts-1"}, 404, "model_not_found"),
        ({"input": ""}, 422, "empty_text"),
        ({"input": 7}, 422, "wrong_type"),
        ({"colour": "red"}, 422, "unknown_field"),
    ],
)
def test_what_openais_door_refuses(change: dict[str, Any], status: int, code: str, replica: Replica) -> None:
    answer = post(replica, "/v1/audio/speech", {"model": "readings", "input": TEXT} | change)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_only_a_model_that_speaks_has_the_path(replicas: dict[str, Replica], replica: Replica) -> None:
    assert post(replicas["texts"], "/v1/audio/speech", {}).status_code == 404
    assert post(replica, "/v1/audio/transcriptions", {}).status_code == 404


def test_open_inference(replica: Replica) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [TEXT]}
    found = post(replica, "/v2/models/readings/infer", {"inputs": [tensor]}).json()["outputs"]
    whole = local(replica.predictor)
    assert [one["name"] for one in found] == ["audio", "sampling_rate"]
    assert base64.b64decode(found[0]["data"][0]) == whole.audio
    assert found[1]["data"] == [16_000]
    body = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    binary = post(replica, "/v2/models/readings/infer", body)
    tail = binary.content[int(binary.headers["inference-header-content-length"]) :]
    assert tail[4:].startswith(whole.audio)
    assert np.frombuffer(tail[-8:], "<i8") == [16_000]


def test_the_page_of_the_api_tells_of_it(replica: Replica) -> None:
    async def run() -> Any:
        async with client(replica) as http:
            return (await http.get("/openapi.json")).json()

    paths = asyncio.run(run())["paths"]
    assert "audio/wav" in paths["/models/readings"]["post"]["responses"]["200"]["content"]
    assert "audio/mpeg" in paths["/models/readings/v1/audio/speech"]["post"]["responses"]["200"]["content"]
