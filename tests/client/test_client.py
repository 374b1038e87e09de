"""Both clients through httpx's transport seam: requests as sent, answers as types, retries, errors."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bigray import errors
from bigray.client import AsyncClient, Client, _wire
from bigray.client._progress import Bar
from bigray.schemas import Detection, Label, Transcript

LABELS = [{"label": "good", "score": 0.75}, {"label": "bad", "score": 0.25}]
MODELS = {"object": "list", "data": [{"id": "reviews", "task": "text_classification"}]}
Reply = httpx.Response | Exception


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("bigray.client.client.time.sleep", slept.append)
    monkeypatch.setattr("bigray.client.aclient.asyncio.sleep", sleep)
    return slept


class Service:
    """Gives prepared replies and remembers what was sent."""

    def __init__(self, *replies: Reply | Callable[[httpx.Request], httpx.Response]) -> None:
        self.replies = list(replies)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, httpx.Response) else reply(request)

    def client(self, **more: Any) -> Client:
        return Client("http://test/", transport=httpx.MockTransport(self), **more)

    def sent(self) -> Any:
        return json.loads(self.requests[-1].content)


def problem(error: errors.BigrayError, headers: dict[str, str] | None = None) -> httpx.Response:
    kind = {"content-type": "application/problem+json"}
    body = json.dumps(error.problem() | {"error": error.detail})
    return httpx.Response(error.status, content=body, headers=kind | (headers or {}))


def test_text() -> None:
    service = Service(httpx.Response(200, json=[LABELS]))
    with service.client(api_key="key") as client:
        answer = client.text_classification("fine", model="reviews", top_k=2)
    assert answer == [Label(**label) for label in LABELS]
    sent = service.requests[0]
    assert str(sent.url) == "http://test/models/reviews"
    assert sent.headers["authorization"] == "Bearer key"
    assert len(sent.headers["x-request-id"]) == 36
    assert service.sent() == {"inputs": "fine", "parameters": {"top_k": 2}}


def test_texts() -> None:
    service = Service(httpx.Response(200, json=[LABELS, LABELS[:1]]))
    answer = service.client().text_classification(["fine", "bad"], model="reviews")
    assert [len(item) for item in answer] == [2, 1]
    assert service.sent() == {"inputs": ["fine", "bad"]}


def test_media_as_bytes_path_and_list(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"picture")
    service = Service(httpx.Response(200, json=LABELS))
    client = service.client()
    for item in (b"picture", file, str(file)):
        assert client.image_classification(item, model="m") == [Label(**label) for label in LABELS]
        assert service.requests[-1].content == b"picture"
        assert service.requests[-1].headers["content-type"] == "application/octet-stream"
    client.image_classification(file, model="m", top_k=1)
    assert service.sent() == {"inputs": base64.b64encode(b"picture").decode(), "parameters": {"top_k": 1}}
    service.replies = [httpx.Response(200, json=[LABELS])]
    assert client.image_classification([file], model="m") == [[Label(**label) for label in LABELS]]


def test_other_answers() -> None:
    box = {"xmin": 0.0, "ymin": 1.0, "xmax": 2.0, "ymax": 3.0}
    found = [{"label": "cat", "score": 0.5, "box": box}]
    objects = Service(httpx.Response(200, json=found)).client().object_detection(b"x", model="m")
    assert objects == [Detection.model_validate(found[0])]
    said = {"text": "hello", "chunks": [{"text": "hello", "timestamp": [0.0, 0.5]}]}
    heard = Service(httpx.Response(200, json=said)).client().automatic_speech_recognition(b"x", model="m")
    assert isinstance(heard, Transcript)
    assert heard.chunks is not None
    assert heard.chunks[0].timestamp == (0.0, 0.5)


def test_model_is_found_by_task() -> None:
    service = Service(httpx.Response(200, json=MODELS), httpx.Response(200, json=[LABELS]))
    client = service.client()
    client.text_classification("fine")
    client.text_classification("fine")
    assert [request.url.path for request in service.requests] == ["/models", "/models/reviews", "/models/reviews"]
    with pytest.raises(errors.NotFound, match="none does"):
        Service(httpx.Response(200, json=MODELS)).client().object_detection(b"x")
    two = {"data": [*MODELS["data"], {"id": "tweets", "task": "text_classification"}]}
    with pytest.raises(errors.NotFound, match="reviews, tweets"):
        Service(httpx.Response(200, json=two)).client().text_classification("fine")


@pytest.mark.parametrize(
    ("task", "inputs", "more", "code"),
    [
        ("text_classification", 1, {}, "wrong_type"),
        ("text_classification", [], {}, "empty_inputs"),
        ("text_classification", ["a", b"b"], {}, "wrong_type"),
        ("text_classification", "a", {"topk": 1}, "invalid_parameters"),
        ("question_answering", "who?", {}, "wrong_type"),
        ("question_answering", {"question": "who?"}, {}, "wrong_type"),
        ("question_answering", [{"question": "who?", "context": 3}], {}, "wrong_type"),
        ("text_classification", "a", {"top_k": 0}, "invalid_parameters"),
        ("image_classification", 3.5, {}, "wrong_type"),
        ("image_classification", "/no/such/file.png", {}, "unreadable_file"),
        ("text_classification", "a", {"model": "../x"}, "invalid_input"),
    ],
)
def test_mistakes_are_found_before_anything_is_sent(task: str, inputs: Any, more: dict[str, Any], code: str) -> None:
    service = Service(httpx.Response(200, json=[LABELS]))
    with pytest.raises(errors.InvalidInput) as caught:
        service.client().predict(task, inputs, **({"model": "m"} | more))
    assert caught.value.code == code
    assert not service.requests


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidInput("no", code="empty_text", pointer="/inputs/1"),
        errors.RequestError("no", code="invalid_json"),
        errors.TooLarge("no", code="body_too_large"),
        errors.UnsupportedMedia("no"),
        errors.NotFound("no"),
        errors.Unauthorized("no"),
        errors.Forbidden("no"),
        errors.MethodNotAllowed("no"),
        errors.ServiceError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_come_back_as_they_were(error: errors.BigrayError, no_sleep: list[float]) -> None:
    service = Service(problem(error, {"x-request-id": "abc"}))
    with pytest.raises(errors.BigrayError) as caught:
        service.client().text_classification("a", model="m")
    assert type(caught.value) is type(error)
    assert (caught.value.code, caught.value.detail) == (error.code, "no")
    assert "abc" in caught.value.__notes__[0]
    assert len(service.requests) == 1
    assert not no_sleep


GOOD = httpx.Response(200, json=[LABELS])


@pytest.mark.parametrize(
    "bad",
    [
        httpx.ConnectError("x"),
        httpx.RemoteProtocolError("x"),
        httpx.ReadError("x"),
        httpx.ConnectTimeout("x"),
        httpx.Response(500, text="Internal Server Error"),
        httpx.Response(404, text="<html>"),
        httpx.Response(502),
        problem(errors.Overloaded("x")),
        problem(errors.RateLimited("x")),
        problem(errors.DeadlineExceeded("x")),
    ],
    ids=lambda bad: bad.__class__.__name__ + str(getattr(bad, "status_code", "")),
)
def test_passing_failures_are_retried(bad: Reply, no_sleep: list[float]) -> None:
    service = Service(bad, bad, GOOD)
    assert len(service.client().text_classification("a", model="m")) == 2
    assert len(service.requests) == 3
    assert len({request.headers["x-request-id"] for request in service.requests}) == 1
    assert 0.1 <= no_sleep[0] <= 0.25
    assert 0.25 <= no_sleep[1] <= 0.5
    with pytest.raises(errors.BigrayError):
        Service(bad).client(retries=0).text_classification("a", model="m")
    always = Service(bad)
    with pytest.raises(errors.BigrayError):
        always.client(retries=2).text_classification("a", model="m")
    assert len(always.requests) == 3


def test_kinds_of_lost_connections() -> None:
    with pytest.raises(errors.ConnectionFailed):
        Service(httpx.ConnectError("x")).client(retries=0).models()
    slow = Service(httpx.ReadTimeout("x"))
    with pytest.raises(errors.DeadlineExceeded):
        slow.client().models()
    assert len(slow.requests) == 1
    with pytest.raises(errors.RequestError, match="http://"):
        Client("ftp://test").models()
    assert not Service(httpx.ConnectError("x")).client().health()


def test_retry_after_is_honoured(no_sleep: list[float]) -> None:
    busy = problem(errors.Overloaded("x"), {"retry-after": "7"})
    Service(busy, GOOD).client().text_classification("a", model="m")
    assert 7 <= no_sleep[0] <= 7.25
    with pytest.raises(errors.Overloaded) as caught:  # no use in waiting past the deadline
        Service(busy, GOOD).client(timeout_s=5).text_classification("a", model="m")
    assert caught.value.retry_after_s == 7
    assert len(no_sleep) == 1


@pytest.mark.parametrize("body", [b"", b"[", b"{}", b"[[{}]]", b'[[{"label": "a", "score": "x"}]]', b"[]", b"null"])
def test_answers_that_are_none(body: bytes) -> None:
    with pytest.raises(errors.ServiceError) as caught:
        Service(httpx.Response(200, content=body)).client().text_classification("a", model="m")
    assert caught.value.code == "invalid_answer"


@pytest.mark.parametrize("body", ["{", "[1]", '{"errors": 5, "code": 7}', '{"errors": ["x"], "detail": null}'])
def test_broken_problem_documents(body: str) -> None:
    reply = httpx.Response(422, text=body, headers={"content-type": "application/problem+json"})
    with pytest.raises(errors.InvalidInput):
        Service(reply).client().text_classification("a", model="m")


def test_batch_keeps_order_and_errors() -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        text = json.loads(request.content)["inputs"]
        if text == "bad":
            return problem(errors.InvalidInput("no"))
        return httpx.Response(200, json=[[{"label": text, "score": 1.0}]])

    done: list[int] = []
    client = Service(reply).client()
    answers = client.batch("text_classification", ["a", "bad", "b"], model="m", concurrency=2, on_progress=done.append)
    assert [answer if isinstance(answer, Exception) else answer[0].label for answer in answers][::2] == ["a", "b"]
    assert isinstance(answers[1], errors.InvalidInput)
    assert done == [1, 2, 3]


def echo(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=[[{"label": json.loads(request.content)["inputs"], "score": 1.0}]])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_batch_takes_inputs_as_they_are_needed(asynchronous: bool) -> None:
    taken: list[int] = []

    def inputs() -> Iterator[str]:
        for n in range(1000):
            taken.append(n)
            if n == 50:
                raise OSError("the file ended")
            yield str(n)

    ahead: list[int] = []
    more: Any = {"model": "m", "concurrency": 4, "on_progress": lambda done: ahead.append(len(taken) - done)}

    def run() -> None:
        if asynchronous:
            client = AsyncClient("http://test", transport=httpx.MockTransport(echo))
            asyncio.run(client.batch("text_classification", inputs(), **more))
        else:
            Service(echo).client().batch("text_classification", inputs(), **more)

    with pytest.raises(OSError, match="the file ended"):
        run()
    assert max(ahead) <= 5
    assert len(taken) == 51


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    Service(echo).client().batch("text_classification", ["a"] * 4, model="m", progress=True)
    assert "[##############################] 4/4" in screen.getvalue()
    assert screen.getvalue().endswith("\n")
    bar = Bar(None, screen)
    bar(3, 1)
    assert "3 done" in screen.getvalue()
    assert "1 failed" in screen.getvalue()
    quiet = io.StringIO()
    Bar(4, quiet)(4, 0)
    assert quiet.getvalue() == ""


def test_timeouts_are_told_to_the_service() -> None:
    service = Service(httpx.Response(200, json=[LABELS]))
    client = service.client(timeout_s=9)
    client.text_classification("a", model="m")
    client.text_classification("a", model="m", timeout_s=2)
    told = [int(request.headers[_wire.TIMEOUT_HEADER]) for request in service.requests]
    assert 8000 < told[0] <= 9000
    assert 1000 < told[1] <= 2000
    from bigray.serve.deadline import TIMEOUT_HEADER

    assert TIMEOUT_HEADER == _wire.TIMEOUT_HEADER


@pytest.mark.parametrize("asynchronous", [False, True])
def test_files_are_streamed_and_anew_for_each_attempt(asynchronous: bool, tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(b"x" * 600_000)
    service = Service(httpx.ConnectError("x"), httpx.Response(200, json=LABELS))

    async def run() -> None:
        async with AsyncClient("http://test", transport=httpx.MockTransport(service)) as client:
            await client.image_classification(file, model="m")

    if asynchronous:
        asyncio.run(run())
    else:
        service.client().image_classification(file, model="m")
    assert [len(request.content) for request in service.requests] == [600_000] * 2
    assert service.requests[0].headers["content-length"] == "600000"
    assert "transfer-encoding" not in service.requests[0].headers


def test_async_client() -> None:
    service = Service(
        httpx.Response(200, json=MODELS), httpx.RemoteProtocolError("x"), httpx.Response(200, json=[LABELS])
    )

    async def run() -> None:
        async with AsyncClient("http://test", transport=httpx.MockTransport(service)) as client:
            assert len(await client.text_classification("fine")) == 2
            answers = await client.batch("text_classification", ["a"] * 5, concurrency=2)
            assert len(answers) == 5
            service.replies = [problem(errors.InvalidInput("no"))]
            with pytest.raises(errors.InvalidInput):
                await client.text_classification("fine")
            assert isinstance((await client.batch("text_classification", ["a"]))[0], errors.InvalidInput)
            assert not await client.health()
            service.replies = [httpx.Response(200, json={"status": "ok"})]
            assert await client.health("reviews")
            assert await client.describe("reviews") == {"status": "ok"}
            with pytest.raises(errors.ServiceError):
                await client.models()

    asyncio.run(run())
    assert len(service.requests) > 8


def test_clients_offer_the_same() -> None:
    names = {name for name in vars(Client) if not name.startswith("_")}
    assert names == {name for name in vars(AsyncClient) if not name.startswith("_")}
    assert set(_wire.CONTRACTS) <= names


def test_client_imports_neither_ray_nor_torch() -> None:
    import subprocess
    import sys

    code = "import sys, bigray.client; print([m for m in ('ray', 'torch', 'numpy', 'starlette') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
