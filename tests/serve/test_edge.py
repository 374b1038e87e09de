"""The edge middleware before a small ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bigray.serve import edge


class App:
    """Answers with a fixed response and remembers the headers it was given."""

    def __init__(self, status: int, content_type: str, extra: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.status = status
        self.content_type = content_type
        self.extra = extra
        self.headers: list[tuple[bytes, bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.headers = scope["headers"]
        while (message := await receive())["type"] == "http.request" and message.get("more_body"):
            pass
        headers = [(b"content-type", self.content_type.encode()), *self.extra]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"as it was"})


def ask(app: App, **more: Any) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(edge.Edge(app))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/", **more)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "code", "then"),
    [
        (500, "replica_lost", 503),
        (503, "overloaded", 503),
        (429, "overloaded", 503),
        (408, "deadline_exceeded", 504),
        (404, "not_found", 404),
        (400, "bad_request", 400),
    ],
)
def test_plain_errors_become_problems(status: int, code: str, then: int) -> None:
    response = ask(App(status, "text/plain; charset=utf-8", ((b"retry-after", b"7"),)))
    assert response.status_code == then
    assert response.json()["code"] == code
    assert "as it was" not in response.text
    if then >= 500:
        assert response.headers["retry-after"] == "7"
        assert response.json()["retryable"]


@pytest.mark.parametrize(("status", "kind"), [(200, "text/plain"), (422, "application/problem+json")])
def test_the_rest_passes(status: int, kind: str) -> None:
    response = ask(App(status, kind))
    assert (response.status_code, response.text) == (status, "as it was")


def test_headers() -> None:
    app = App(200, "text/plain")
    given = {"x-request-timeout-seconds": "0", "X-Request-Disconnect-Disabled": "?1", "serve_multiplexed_model_id": "x"}
    ask(app, headers=given | {"x-request-id": "a b", "x-own": "1"})
    names = [name.lower() for name, _ in app.headers]
    assert b"x-own" in names
    assert names.count(b"x-request-id") == 1
    assert dict(app.headers)[b"x-request-id"] != b"a b"
    assert not {name.replace(b"_", b"-") for name in names} & edge.STRIPPED


@pytest.mark.parametrize("chunked", [False, True])
def test_large_bodies(chunked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "MAX_BODY_BYTES", 1000)

    async def chunks() -> Any:
        for _ in range(30):
            yield b"a" * 100

    response = ask(App(200, "text/plain"), content=chunks() if chunked else b"a" * 1001)
    assert response.status_code == 413
    assert response.json()["code"] == "body_too_large"


def test_serve_asks_for_a_list() -> None:
    found: Iterator[Any] = iter(edge.middlewares())
    assert next(found).cls is edge.Edge
