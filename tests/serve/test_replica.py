"""One replica without Ray: the same object that Serve runs, asked through httpx's ASGI transport."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import client
from cases import CASES, GOOD_TEXT, JSON, Case, b64, check_problem, png

from bigray.errors import ArtifactCorrupt
from bigray.recipe import Serve
from bigray.serve.replica import Replica


@pytest.mark.parametrize("case", CASES, ids=str)
def test_malformed(case: Case, replicas: dict[str, Replica]) -> None:
    async def run() -> None:
        async with client(replicas[case.model]) as http:
            began = time.process_time()
            response = await http.request(case.method, case.path, content=case.content, headers=case.headers)
            assert time.process_time() - began < 2
            check_problem(response.status_code, response.headers, response.content, case)

    asyncio.run(run())


def test_answers_in_every_form(replicas: dict[str, Replica]) -> None:
    async def run() -> None:
        async with client(replicas["texts"]) as http:
            one = (await http.post("", json=GOOD_TEXT)).json()
            assert [set(label) for label in one[0]] == [{"label", "score"}] * 3
            assert sum(label["score"] for label in one[0]) == pytest.approx(1, abs=1e-5)
            two = (await http.post("", json={"inputs": ["a good film", "bad"], "parameters": {"top_k": 1}})).json()
            assert [len(item) for item in two] == [1, 1]
            assert two[0][0]["label"] == one[0][0]["label"]
        async with client(replicas["images"]) as http:
            bare = (await http.post("", content=png())).json()
            typed = (await http.post("", content=png(), headers={"content-type": "image/png"})).json()
            coded = (await http.post("", json={"inputs": b64(png()), "parameters": {}})).json()
            url = (await http.post("", json={"inputs": f"data:image/png;base64,{b64(png())}"})).json()
            assert bare == typed == coded == url
            many = (await http.post("", json={"inputs": [b64(png())]})).json()
            assert many == [bare]

    asyncio.run(run())


def test_one_input_of_two_fields(replicas: dict[str, Replica]) -> None:
    asked = {"question": "When did Ada come?", "context": "Ada came home at nine. " * 200}

    async def run() -> None:
        async with client(replicas["questions"]) as http:
            one = (await http.post("", json={"inputs": asked})).json()
            assert set(one) == {"answer", "score", "start", "end"}
            assert asked["context"][one["start"] : one["end"]] == one["answer"]
            many = (await http.post("", json={"inputs": [asked, asked]})).json()
            assert many == [one, one]
            best = (await http.post("", json={"inputs": asked, "parameters": {"top_k": 3}})).json()
            assert best[0] == one
            assert len(best) == 3

    asyncio.run(run())


def test_chunked_body_over_the_limit(replicas: dict[str, Replica]) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"a" * 65_536

    async def run() -> None:
        async with client(replicas["texts"]) as http:
            response = await http.post("", content=endless(), headers=JSON)
            assert response.json()["code"] == "body_too_large"

    asyncio.run(run())


def test_bad_neighbours_fail_alone(replicas: dict[str, Replica]) -> None:
    good, bad = png(), png()[:40]

    async def run() -> list[int]:
        async with client(replicas["images"]) as http:
            responses = await asyncio.gather(*(http.post("", content=bad if i % 4 == 0 else good) for i in range(24)))
            assert len({response.text for response in responses if response.status_code == 200}) == 1
            return [response.status_code for response in responses]

    assert asyncio.run(run()) == [422 if i % 4 == 0 else 200 for i in range(24)]


def test_a_bug_is_a_clean_500(replicas: dict[str, Replica], monkeypatch: pytest.MonkeyPatch) -> None:
    replica = replicas["texts"]

    def broken(*_: Any) -> Any:
        raise KeyError("sk-SECRET-123")

    async def run() -> None:
        async with client(replica) as http:
            monkeypatch.setattr(type(replica.predictor), "predict", broken)
            response = await http.post("", json=GOOD_TEXT)
            check_problem(response.status_code, response.headers, response.content, Case("", 500, "service_error"))
            with pytest.raises(KeyError):
                await replica.check_health()
            monkeypatch.undo()
            assert (await http.post("", json=GOOD_TEXT)).status_code == 200
            await replica.check_health()

    asyncio.run(run())


def test_deadline_and_overload(artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Serve(timeout_s=1.0, max_batch_size=1, batch_wait_ms=0, max_queued_requests=4, cpus=0.5)
    replica = Replica.open(str(artifacts["text_classification"]), "texts", settings)
    predict = type(replica.predictor).predict
    ran: list[int] = []

    def slow(self: Any, rows: Any, parameters: Any = None) -> Any:
        ran.append(len(rows))
        time.sleep(0.3)
        return predict(self, rows, parameters)

    monkeypatch.setattr(type(replica.predictor), "predict", slow)

    async def run() -> list[httpx.Response]:
        async with client(replica) as http:
            many = {"inputs": ["a good film"] * 250}
            first = asyncio.create_task(http.post("", json=many))
            while not replica.batcher._waiting:
                await asyncio.sleep(0.005)
            rest = [http.post("", json=many) for _ in range(3)]
            responses = [*await asyncio.gather(*rest), await first]
            await asyncio.sleep(0.4)
            return responses

    responses = asyncio.run(run())
    assert [response.status_code for response in responses] == [503, 503, 503, 504]
    for response in responses:
        assert 1 <= int(response.headers["retry-after"]) <= 60
        assert response.json()["retryable"]
    assert len(ran) <= 5, "work whose caller has gone was still done"


def test_metadata(replicas: dict[str, Replica]) -> None:
    async def run() -> None:
        async with client(replicas["texts"]) as http:
            about = (await http.get("")).json()
            assert about["task"] == "text_classification"
            assert about["engine"] == "onnxruntime"
            assert about["labels"] == ["a", "b", "c"]
            assert about["process"]["rss_bytes"] > 10_000_000
            assert (await http.get("/healthz")).json() == {"status": "ok"}
            assert (await http.head("")).status_code == 200
            kept = await http.get("/healthz", headers={"x-request-id": "abc-1"})
            assert "x-request-id" not in kept.headers  # Serve's proxy writes it when the request has one

    asyncio.run(run())


def test_changed_artifact_is_refused(artifacts: dict[str, Path], settings: Serve, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(artifacts["text_classification"], tmp_path / "copy"))
    file = copy / "task" / "task.json"
    file.write_text(file.read_text().replace('"a"', '"z"'))
    with pytest.raises(ArtifactCorrupt, match=r"task\.json"):
        Replica.open(str(copy), "texts", settings)
