"""The edge middleware before a small ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bigray import errors
from bigray.serve import edge, framing, limits
from bigray.serve.deadline import TIMEOUT_HEADER
from bigray.serve.listen import LOOPBACK_NAMES


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


def ask(app: App, path: str = "/", hosts: frozenset[str] | None = None, **more: Any) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(edge.Edge(app, hosts=hosts))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(path, **more)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "code", "then"),
    [
        (500, "replica_lost", 503),
        (503, "overloaded", 503),
        (429, "overloaded", 503),
        (408, "deadline_exceeded", 504),
        (404, "not_found", 404),
        (405, "method_not_allowed", 405),
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


@pytest.mark.parametrize(("given", "passed"), [("1500", b"2.000"), ("0", None), ("x", None), (None, None)])
def test_serve_is_told_how_long_a_caller_waits(given: str | None, passed: bytes | None) -> None:
    """For requests that wait in the proxy, where no replica can look at the limit."""
    app = App(200, "text/plain")
    ask(app, headers={"x-request-timeout-seconds": "0"} | ({} if given is None else {TIMEOUT_HEADER: given}))
    assert dict(app.headers).get(b"x-request-timeout-seconds") == passed


def test_headers() -> None:
    app = App(200, "text/plain")
    given = {"x-request-timeout-seconds": "0", "X-Request-Disconnect-Disabled": "?1", "serve_multiplexed_model_id": "x"}
    ask(app, headers=given | {"x-request-id": "a b", "x-own": "1"})
    names = [name.lower() for name, _ in app.headers]
    assert b"x-own" in names
    assert names.count(b"x-request-id") == 1
    assert dict(app.headers)[b"x-request-id"] != b"a b"
    assert not {name.replace(b"_", b"-") for name in names} & (framing.STRIPPED - {b"x-bigray-received"})


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


LONG = [(f"x-{i}", "1") for i in range(200)]


@pytest.mark.parametrize(
    ("status", "code", "headers"),
    [
        (431, "headers_too_large", [("x-long", "a" * 40_000)]),
        (431, "headers_too_large", LONG),
        (400, "bad_framing", [("content-length", "1"), ("transfer-encoding", "chunked")]),
        (400, "bad_framing", [("content-length", "1"), ("content-length", "2")]),
        (400, "bad_framing", [("content-length", "-1")]),
        (400, "bad_framing", [("content-length", "1e3")]),
        (400, "bad_framing", [("content-length", str(2**64))]),
        (400, "bad_framing", [("content-length", "\u0661")]),
        (400, "bad_framing", [("host", "a"), ("host", "b")]),
        (400, "bad_framing", [("content-type", "application/json"), ("content-type", "image/png")]),
        (400, "bad_framing", [("x-own", "a\0b")]),
        (400, "bad_framing", [("x-own", "a\r\nb: c")]),
        (413, "body_too_large", [("content-length", str(2**40))]),
    ],
)
def test_heads_that_are_refused(status: int, code: str, headers: list[tuple[str, str]]) -> None:
    app = App(200, "text/plain")
    raw = [(name.encode(), value.encode()) for name, value in headers]
    base = [] if any(name == "host" for name, _ in headers) else [(b"host", b"test")]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/", "headers": base + raw, "http_version": "1.1", "method": "POST"}
    asyncio.run(edge.Edge(app)(scope, None, send))  # type: ignore[arg-type]
    answer = dict(sent[0]["headers"])
    assert sent[0]["status"] == status
    assert f'"code": "{code}"'.encode() in sent[1]["body"]
    assert answer[b"connection"] == b"close"
    assert not app.headers


def test_host_must_be_there() -> None:
    head = framing.Head.of({"headers": [], "path": "/", "http_version": "1.1"})
    with pytest.raises(errors.RequestError, match="host is missing"):
        head.check(None)


def test_long_addresses() -> None:
    response = ask(App(200, "text/plain"), f"/{'a' * 9000}")
    assert (response.status_code, response.json()["code"]) == (414, "address_too_long")
    response = ask(App(200, "text/plain"), f"/?{'a' * 9000}")
    assert response.status_code == 414


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("LOCALHOST", 200),
        ("[::1]:8000", 200),
        ("localhost.", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("127.0.0.1@evil", 403),
    ],
)
def test_other_names_for_this_machine_are_refused(host: str, status: int) -> None:
    hosts = frozenset(LOOPBACK_NAMES.split(","))
    assert ask(App(200, "text/plain"), hosts=hosts, headers={"host": host}).status_code == status


@pytest.mark.parametrize("path", ["/healthz", "/-/healthz", "/models/x/healthz"])
def test_load_balancers_ask_for_health_by_any_name(path: str) -> None:
    hosts = frozenset({"localhost"})
    assert ask(App(200, "text/plain"), path, hosts=hosts, headers={"host": "10.0.0.7:8000"}).status_code == 200
    head = framing.Head.of({"headers": [], "path": path, "http_version": "1.0"})
    head.check(None)


def test_slow_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "BODY_IDLE_S", 0.05)

    async def chunks() -> Any:
        yield b"a"
        await asyncio.sleep(5)
        yield b"b"

    response = ask(App(200, "text/plain"), content=chunks())
    assert (response.status_code, response.json()["code"]) == (408, "slow_request")


def test_bodies_in_crumbs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CHUNKS", 10)

    async def chunks() -> Any:
        for _ in range(30):
            yield b"a"

    response = ask(App(200, "text/plain"), content=chunks())
    assert (response.status_code, response.json()["code"]) == (400, "too_many_chunks")


def test_what_proxies_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv(edge.KEYS, str(tmp_path / "keys.json"))
    monkeypatch.setenv(edge.HOSTS, LOOPBACK_NAMES)
    given = edge.middlewares()[0].kwargs
    assert given["gate"] is not None
    assert "localhost" in given["hosts"]
