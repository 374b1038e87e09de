"""The Open Inference Protocol: tensors in and out, in JSON and binary, and every refusal in its own form."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import httpx
import numpy as np
import pytest
from asking import client
from cases import SECRET, b64, png

from bigray.schemas import Box, Chunk, Detection, Transcript
from bigray.serve.dialects._tensors import columns, pack_bytes, unpack_bytes
from bigray.serve.replica import Replica

INFER = "/v2/models/texts/infer"
LENGTH = "inference-header-content-length"
TENSOR = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a good film", "bad"]}


def ask(replica: Replica, method: str, path: str, **more: Any) -> httpx.Response:
    async def run() -> httpx.Response:
        async with client(replica) as http:
            return await http.request(method, path, **more)

    return asyncio.run(run())


def outputs(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {tensor["name"]: tensor for tensor in response.json()["outputs"]}


def test_json_tensors_agree_with_the_other_dialect(replicas: dict[str, Replica]) -> None:
    texts = replicas["texts"]
    response = ask(texts, "POST", INFER, json={"id": "7-ü", "inputs": [TENSOR], "parameters": {"top_k": 2}})
    assert response.json()["id"] == "7-ü"
    assert response.json()["model_version"] == texts.version
    found = outputs(response)
    assert {name: (t["datatype"], t["shape"]) for name, t in found.items()} == {
        "label": ("BYTES", [2, 2]),
        "score": ("FP32", [2, 2]),
    }
    plain = ask(texts, "POST", "", json={"inputs": TENSOR["data"], "parameters": {"top_k": 2}}).json()
    assert found["label"]["data"] == [label["label"] for row in plain for label in row]
    assert found["score"]["data"] == pytest.approx([label["score"] for row in plain for label in row], abs=1e-6)


def test_binary_tensors_both_ways(replicas: dict[str, Replica]) -> None:
    picture = png()
    data = struct.pack("<I", len(picture)) + picture
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True, "top_k": 3}}).encode()
    path = "/v2/models/images/infer"
    response = ask(replicas["images"], "POST", path, content=head + data, headers={LENGTH: str(len(head))})
    assert response.status_code == 200, response.text
    size = int(response.headers[LENGTH])
    told = {tensor["name"]: tensor for tensor in json.loads(response.content[:size])["outputs"]}
    sizes = [told[name]["parameters"]["binary_data_size"] for name in ("label", "score")]
    tail = response.content[size:]
    assert len(tail) == sum(sizes)
    scores = np.frombuffer(tail[sizes[0] :], "<f4")
    in_json = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [b64(picture)]}
    again = outputs(ask(replicas["images"], "POST", path, json={"inputs": [in_json]}))
    assert scores.tolist() == pytest.approx(again["score"]["data"])
    assert unpack_bytes(tail[: sizes[0]], 3) == [label.encode() for label in again["label"]["data"]]


def test_outputs_are_chosen_by_name(replicas: dict[str, Replica]) -> None:
    body = {"inputs": [TENSOR], "outputs": [{"name": "score", "parameters": {"binary_data": False}}]}
    assert set(outputs(ask(replicas["texts"], "POST", INFER, json=body))) == {"score"}


def test_metadata_and_health(replicas: dict[str, Replica]) -> None:
    texts = replicas["texts"]
    about = ask(texts, "GET", "/v2/models/texts").json()
    assert about["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert about["platform"] == "onnxruntime"
    assert about["versions"] == [texts.version]
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/texts/ready"):
        assert ask(texts, "GET", path).status_code == 200
    versioned = f"/v2/models/texts/versions/{texts.version}"
    assert ask(texts, "GET", versioned).json() == about
    assert ask(texts, "POST", f"{versioned}/infer", json={"inputs": [TENSOR]}).status_code == 200


def change(**fields: Any) -> dict[str, Any]:
    return {"inputs": [{**TENSOR, **fields}]}


BAD: list[tuple[str, int, str, Any]] = [
    (INFER, 400, "invalid_json", b"{"),
    (INFER, 422, "wrong_type", []),
    (INFER, 422, "unknown_field", {"inputs": [TENSOR], SECRET: 1}),
    (INFER, 422, "missing_field", {}),
    (INFER, 422, "missing_field", {"inputs": []}),
    (INFER, 422, "missing_field", {"inputs": [[SECRET]]}),
    (INFER, 422, "unknown_tensor", change(name=SECRET)),
    (INFER, 422, "unknown_tensor", {"inputs": [TENSOR, TENSOR]}),
    (INFER, 422, "wrong_datatype", change(datatype="FP32")),
    (INFER, 422, "wrong_datatype", change(datatype="OBJECT")),
    (INFER, 422, "wrong_shape", change(shape=[3])),
    (INFER, 422, "wrong_shape", change(shape=[2, 2])),
    (INFER, 422, "wrong_shape", change(shape=2)),
    (INFER, 422, "wrong_shape", change(shape=[True])),
    (INFER, 422, "wrong_shape", change(data=SECRET)),
    (INFER, 422, "too_many_items", change(shape=[-2])),
    (INFER, 422, "too_many_items", change(shape=[0], data=[])),
    (INFER, 422, "too_many_items", change(shape=[2**62, 1])),
    (INFER, 422, "wrong_type", change(data=["a", 7])),
    (INFER, 422, "empty_text", change(data=["a", " "])),
    (INFER, 422, "unknown_field", change(size=1)),
    (INFER, 422, "wrong_size", change(parameters={"binary_data_size": 4})),
    (INFER, 422, "wrong_type", change(parameters={"binary_data_size": -1})),
    (INFER, 403, "shared_memory_disabled", change(parameters={"shared_memory_region": SECRET})),
    (INFER, 422, "unknown_tensor", {"inputs": [TENSOR], "outputs": [{"name": SECRET}]}),
    (INFER, 422, "unknown_tensor", {"inputs": [TENSOR], "outputs": [{"name": "label"}] * 2}),
    (INFER, 422, "wrong_type", {"inputs": [TENSOR], "outputs": SECRET}),
    (
        INFER,
        403,
        "shared_memory_disabled",
        {"inputs": [TENSOR], "outputs": [{"name": "label", "parameters": {"shared_memory_region": "x"}}]},
    ),
    (INFER, 422, "invalid_parameters", {"inputs": [TENSOR], "parameters": {"top_k": SECRET}}),
    (INFER, 422, "wrong_type", {"inputs": [TENSOR], "id": 7}),
    (INFER, 422, "wrong_type", {"inputs": [TENSOR], "id": "a\r\nb"}),
    ("/v2/models/others/infer", 404, "not_found", {"inputs": [TENSOR]}),
    ("/v2/models/texts/versions/9/infer", 404, "not_found", {"inputs": [TENSOR]}),
    ("/v2/repository/index", 404, "not_found", {}),
    ("/v2", 405, "method_not_allowed", {}),
]


@pytest.mark.parametrize(("path", "status", "code", "body"), BAD)
def test_refusals(path: str, status: int, code: str, body: Any, replicas: dict[str, Replica]) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = ask(replicas["texts"], "POST", path, content=content)
    told = response.json()
    assert (response.status_code, told["code"]) == (status, code), told
    assert isinstance(told["error"], str)
    assert SECRET not in response.text


@pytest.mark.parametrize("declared", ["-1", "x", "1e3", "9" * 30, "10000"])
def test_lengths_that_lie(declared: str, replicas: dict[str, Replica]) -> None:
    body = json.dumps({"inputs": [TENSOR]}).encode()
    response = ask(replicas["texts"], "POST", INFER, content=body, headers={LENGTH: declared})
    assert (response.status_code, response.json()["code"]) == (400, "bad_framing")


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x01\0\0\0a\x01\0\0\0b", b"\x05\0\0\0ab", b"", b"\x01\0\0"])
def test_packed_bytes_must_add_up(data: bytes) -> None:
    with pytest.raises(Exception, match="add up"):
        unpack_bytes(data, 1)


def test_rows_of_unlike_length_lie_end_to_end() -> None:
    box = Box(xmin=1.0, ymin=2.0, xmax=3.0, ymax=4.0)
    found = columns("object_detection", [[], [Detection(label="ü", score=0.5, box=box)] * 2])
    assert found["input"].array.tolist() == [1, 1]
    assert found["box"].array.shape == (2, 4)
    assert pack_bytes(found["label"].array) == b"\x02\0\0\0\xc3\xbc" * 2
    none = columns("object_detection", [[]])
    assert {name: list(t.array.shape) for name, t in none.items()} == {
        "input": [0],
        "label": [0],
        "score": [0],
        "box": [0, 4],
    }
    heard = [Transcript(text="a b", chunks=[Chunk(text="a", timestamp=(0.0, 0.5))]), Transcript(text="", chunks=[])]
    assert columns("automatic_speech_recognition", heard)["word_time"].array.tolist() == [[0.0, 0.5]]
    assert set(columns("automatic_speech_recognition", [Transcript(text="a")])) == {"text"}
