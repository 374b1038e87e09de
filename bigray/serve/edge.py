"""What stands before Serve's own HTTP code, in every proxy: limits, headers and error bodies.

Serve obeys headers that any caller may send (``x-request-timeout-seconds: 0`` switches the timeout off), takes bodies of
any size into memory, and answers its own errors in plain text. This ASGI middleware takes those headers away, refuses
bodies over a limit while they arrive, and turns plain-text errors into RFC 9457 documents.

Serve loads it where ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=bigray.serve.edge:middlewares`` is in the environment of
its controller; `bigray.serve.config` sets that. Limit in bytes: ``BIGRAY_MAX_BODY_BYTES``, 64 MiB by default (each model
has its own, lower one).
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.middleware import Middleware

from bigray.errors import BigrayError, DeadlineExceeded, NotFound, Overloaded, RequestError, ServiceError, TooLarge
from bigray.serve import doors
from bigray.serve.problems import CONTENT_TYPE, problem_body, request_id

CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
IMPORT_PATH = "bigray.serve.edge:middlewares"
MAX_BODY_BYTES = int(os.environ.get("BIGRAY_MAX_BODY_BYTES", 64 * 2**20))
STRIPPED = {b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"serve-multiplexed-model-id"}
"""Request headers by which a caller could steer Serve."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def middlewares() -> list[Middleware]:
    """Return what Serve asks for when it starts a proxy."""
    return [Middleware(Edge)]


class Edge:
    """The middleware."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass one request on, within limits."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["headers"], identity, declared = _clean(scope["headers"])
        answer = _Answer(send, identity, scope["path"])
        if declared is not None and (not declared.isdigit() or len(declared) > 19 or int(declared) > MAX_BODY_BYTES):
            await answer.problem(_too_large())
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY_BYTES:
                await answer.problem(_too_large())
                return {"type": "http.disconnect"}
            return message

        await self._app(scope, counted, answer.send)


class _Answer:
    """The way back: lets answers pass, rewrites plain-text errors, sends nothing after a refusal."""

    def __init__(self, send: Send, identity: str, path: str) -> None:
        self._send = send
        self._path = path
        self._identity = identity
        self._started = False
        self._closed = False
        self._error: BigrayError | None = None

    async def send(self, message: Message) -> None:
        if self._closed:
            return
        if message["type"] == "http.response.start":
            headers = dict(message.get("headers", ()))
            content_type = headers.get(b"content-type", b"")
            if message["status"] >= 400 and not content_type.startswith((b"application/", b"image/")):
                await self.problem(_translated(message["status"], headers.get(b"retry-after", b"")))
                return
            self._started = True
        await self._send(message)

    async def problem(self, error: BigrayError) -> None:
        if self._started or self._closed:
            return
        self._closed = True
        dialect = doors.speaking(self._path)
        if dialect is None:
            kind, body = CONTENT_TYPE, json.dumps(problem_body(error, self._identity)).encode()
        else:
            kind, body = dialect.problem(error, self._identity)
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", self._identity.encode()),
        ]
        if error.retry_after_s is not None:
            headers.append((b"retry-after", str(error.retry_after_s).encode()))
        if error.status == 413:  # the rest of the body will not be read
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _clean(headers: list[tuple[bytes, bytes]]) -> tuple[list[tuple[bytes, bytes]], str, bytes | None]:
    """Return the headers to pass on, the request's id, and the declared length."""
    kept = []
    given: str | None = None
    declared: bytes | None = None
    for name, value in headers:
        plain = name.lower().replace(b"_", b"-")
        if plain in STRIPPED:
            continue
        if plain == b"x-request-id":
            given = given or value.decode("latin-1")
            continue
        if plain == b"content-length":
            declared = value
        kept.append((name, value))
    identity = request_id(given)
    return [*kept, (b"x-request-id", identity.encode())], identity, declared


def _translated(status: int, retry_after: bytes) -> BigrayError:
    wait_s = int(retry_after) if retry_after.isdigit() else 1
    if status == 404:
        return NotFound("There is no such path. GET /models lists the models.")
    if status in {429, 503}:
        return Overloaded("The model is full, starting or stopping. Try again later.", retry_after_s=wait_s)
    if status in {408, 504}:
        return DeadlineExceeded("No answer within the time allowed.", retry_after_s=wait_s)
    if status >= 500:
        return Overloaded(
            "The replica was lost while it answered. Try again.", code="replica_lost", retry_after_s=wait_s
        )
    return (
        RequestError(f"The request was refused with HTTP status {status}.") if status < 500 else ServiceError("Failed.")
    )


def _too_large() -> BigrayError:
    return TooLarge(f"The body is over {MAX_BODY_BYTES} bytes.", code="body_too_large")
