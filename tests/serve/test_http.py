"""Real artifacts behind Serve's real proxy, asked by raw HTTP and by bigray's client."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cases import CASES, GOOD_TEXT, Case, b64, check_problem, png
from conftest import NAMES

from bigray import errors
from bigray.client import AsyncClient, Client, Gallery
from bigray.schemas import Answer, Detection, Label, Summary, Transcript, Translation

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def http(service: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service, timeout=30) as client:
        yield client


def process(http: httpx.Client, model: str) -> dict[str, Any]:
    found: dict[str, Any] = http.get(f"/models/{model}").json()["process"]
    return found


def test_malformed_and_their_neighbours(http: httpx.Client, sound: bytes) -> None:
    """Each case is sent while a good request to the same model is in flight, three times to be joined with it."""
    good: dict[str, dict[str, Any]] = {
        "texts": {"json": GOOD_TEXT},
        "questions": {"json": {"inputs": {"question": "When?", "context": "Ada came home at nine."}}},
        "images": {"content": png()},
        "speech": {"content": sound},
    }
    before = {model: process(http, model) for model in good}
    expected = {model: http.post(f"/models/{model}", **request).json() for model, request in good.items()}

    async def send(client: httpx.AsyncClient, case: Case) -> list[str]:
        address = f"/models/{case.model}"
        began = time.monotonic()
        bad, *neighbours = await asyncio.gather(
            client.request(case.method, f"{address}{case.path}", content=case.content, headers=case.headers),
            *(client.post(address, **good[case.model]) for _ in range(2)),
        )
        wrong = [f"took {time.monotonic() - began:.1f} s"] if time.monotonic() - began > 10 else []
        try:
            check_problem(bad.status_code, bad.headers, bad.content, case)
        except (AssertionError, KeyError, ValueError) as error:
            wrong.append(f"{bad.status_code} {error}")
        for one in neighbours:
            if one.status_code != 200:
                wrong.append(f"its neighbour got {one.status_code}")
            elif not alike(one.json(), expected[case.model]):
                wrong.append("its neighbour got another answer")
        return [f"{case}: {what}" for what in wrong]

    async def run() -> list[str]:
        async with httpx.AsyncClient(base_url=http.base_url, timeout=30) as client:
            return [what for case in CASES for what in await send(client, case)]

    wrong = asyncio.run(run())
    assert not wrong, "\n".join(wrong)
    for model, was in before.items():
        now = process(http, model)
        assert now["pid"] == was["pid"], model
        assert now["rss_bytes"] - was["rss_bytes"] < 64 * 2**20, model


def alike(one: Any, other: Any) -> bool:
    """Whether two answers agree; numbers may differ in their last digits, since batches are rounded otherwise."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(value, other[name]) for name, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return one == pytest.approx(other, abs=1e-4) if isinstance(one, float) else one == other


def test_good_request_beside_a_bad_one(http: httpx.Client, service: str) -> None:
    async def run() -> list[int]:
        async with httpx.AsyncClient(base_url=service, timeout=30) as client:
            bodies = [png()[:40] if i % 2 else png() for i in range(16)]
            responses = await asyncio.gather(*(client.post("/models/images", content=body) for body in bodies))
            return [response.status_code for response in responses]

    assert asyncio.run(run()) == [200, 422] * 8


def test_index(http: httpx.Client) -> None:
    listed = http.get("/models").json()
    assert listed["object"] == "list"
    found = {model["id"]: (model["task"], model["status"]) for model in listed["data"]}
    assert found == {NAMES[task]: (task, "RUNNING") for task in NAMES}
    assert {model["engine"] for model in listed["data"]} == {"onnxruntime", "openvino"}
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/").json()["models"]["texts"] == "/models/texts"
    for path, told in (("v2/models/nothing/infer", str), ("v1/audio/transcriptions", dict), ("v9", str)):
        response = http.post(f"/models/nothing/{path}")
        assert response.status_code == 404
        assert isinstance(response.json()["error"], told), "each family of clients reads its own form"
    for path in ("/nothing", "/models/nothing", "/models/%2e%2e/%2e%2e/etc/passwd", "/-/x"):
        response = http.post(path)
        check_problem(response.status_code, response.headers, response.content, Case("", 404, "not_found"))
    response = http.post("/models")
    check_problem(response.status_code, response.headers, response.content, Case("", 405, "method_not_allowed"))


def test_replicas_have_imported_neither_torch_nor_pandas_nor_pyarrow(http: httpx.Client) -> None:
    for name in NAMES.values():
        told = process(http, name)
        assert not told["torch_imported"], name
        mapped = Path(f"/proc/{told['pid']}/maps").read_text()
        assert "/pandas/" not in mapped, name
        assert "/pyarrow/" not in mapped, name


def test_headers_that_steer_serve_are_taken_away(http: httpx.Client) -> None:
    for value in ("0.0001", "0", "nan", "inf", "\xff"):
        headers = {"x-request-timeout-seconds": value, "x-request-disconnect-disabled": "?1"}
        encoded = {key: text.encode("latin-1") for key, text in headers.items()}
        assert http.post("/models/texts", json=GOOD_TEXT, headers=encoded).status_code == 200, value


def test_request_ids(http: httpx.Client) -> None:
    kept = http.post("/models/texts", json=GOOD_TEXT, headers={"x-request-id": "trace-7"})
    assert kept.headers.get_list("x-request-id") == ["trace-7"]
    for given in ("x" * 10_000, "a b", "<script>"):
        answer = http.post("/models/texts", json={}, headers={"x-request-id": given})
        assert len(answer.headers["x-request-id"]) == 36
        assert answer.json()["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"


def test_body_over_the_limit_of_the_edge(http: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(70):
            yield b"a" * 2**20

    try:
        response = http.post("/models/texts", content=chunks())
    except httpx.TransportError:
        return  # the service may hang up before everything is sent
    assert response.status_code == 413
    assert response.json()["code"] == "body_too_large"


def test_bigray_client(service: str, sound: bytes) -> None:
    with Client(service) as client:
        assert client.health()
        assert client.health("texts")
        assert not client.health("nothing")
        labels = client.text_classification("a good film", model="texts", top_k=2)
        assert len(labels) == 2
        assert isinstance(labels[0], Label)
        assert client.text_classification(["a good film", "bad"])[0][:2] == labels
        assert len(client.image_classification(png(), top_k=1)) == 1
        assert client.image_classification([png(), png(9, 5)], top_k=1)[0] == client.image_classification(
            png(), top_k=1
        )
        answer = client.question_answering("When?", "Ada came home at nine.")
        assert isinstance(answer, Answer)
        best = client.question_answering("When?", "Ada came home at nine.", top_k=2)
        assert isinstance(best, list)
        assert best[0] == answer
        assert isinstance(client.translation("a film", model="phrases"), Translation)
        two = client.summarization(["a film", "a film"], generate_parameters={"num_beams": 2})
        assert two[0] == two[1]
        assert isinstance(two[0], Summary)
        objects = client.object_detection(png(64, 48), threshold=0.0)
        assert all(isinstance(item, Detection) for item in objects)
        assert isinstance(client.automatic_speech_recognition(sound), Transcript)
        spoken = client.text_to_speech("a small word", speed=2.0)
        assert client.text_to_speech(["a small word", "a word"], speed=2.0)[0] == spoken
        assert spoken.audio.startswith(b"RIFF")
        assert client.describe("texts")["labels"] == ["a", "b", "c"]
        with pytest.raises(errors.InvalidInput) as caught:
            client.text_classification(["fine", " "], model="texts")
        assert caught.value.code == "empty_text"
        assert caught.value.errors[0]["pointer"] == "/inputs/1"
        with pytest.raises(errors.NotFound):
            client.text_classification("a", model="nothing")
        seen: list[int] = []
        answers = client.batch("text_classification", ["a good film", " ", "bad"], on_progress=seen.append)
        assert [isinstance(answer, errors.InvalidInput) for answer in answers] == [False, True, False]
        assert seen == [1, 2, 3]


def test_async_client(service: str) -> None:
    async def run() -> None:
        async with AsyncClient(service) as client:
            assert await client.health()
            labels = await client.text_classification("a good film", top_k=1)
            answers = await client.batch("text_classification", ["a good film"] * 40, top_k=1)
            assert answers == [labels] * 40

    asyncio.run(run())


def test_people_are_verified_and_identified(service: str, sound: bytes) -> None:
    with Client(service) as client:
        gallery = Gallery()
        gallery.enrol("ann", client.speaker_recognition([sound]))
        claim = client.speaker_recognition(sound, reference=gallery["ann"], threshold=0.9)
        assert (claim.verified, claim.score) == (True, pytest.approx(1.0, abs=1e-4))
        assert [one.label for one in client.speaker_recognition(sound, gallery=gallery, threshold=0.9).matches] == [
            "ann"
        ]
        with pytest.raises(errors.InvalidInput, match="no threshold for the false-accept rate"):
            client.speaker_recognition(sound, gallery=gallery)  # this model was never trained
        with pytest.raises(errors.InvalidInput, match="have 128 numbers"):
            client.face_recognition(png(), reference=[1.0, 2.0], threshold=0.5)
        assert len(client.face_recognition(png()).embedding) == 128


def test_same_answer_as_in_process(http: httpx.Client, artifacts: dict[str, Any]) -> None:
    from bigray.predictor import open_artifact

    predictor = open_artifact(artifacts["image_classification"])
    here = predictor.predict([{"image": png()}])[0]
    there = json.loads(http.post("/models/images", json={"inputs": b64(png())}).text)
    assert [item["label"] for item in there] == [item.label for item in here]
    assert [item["score"] for item in there] == pytest.approx([item.score for item in here], abs=1e-6)
