"""What stands before Serve's own HTTP code, in every proxy: limits, headers and error bodies.

Serve obeys headers that any caller may send (``x-request-timeout-seconds: 0`` switches the timeout off), takes bodies of
any size into memory, knows no users, and answers its own errors in plain text. This ASGI middleware takes those headers
away, checks API keys, refuses bodies over a limit while they arrive, and writes errors in the dialect of their path.

Serve loads it where ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=bigray.serve.edge:middlewares`` is in the environment of
its controller; `bigray.serve.listen` sets that, and with it:

* ``BIGRAY_MAX_BODY_BYTES``: 64 MiB by default; each model has its own, lower limit.
* ``BIGRAY_KEYS_FILE``: file of API keys; without it everybody may pass.
* ``BIGRAY_HOSTS``: comma-separated names that the Host header may have; without it any.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from starlette.middleware import Middleware

from bigray.errors import (
    BigrayError,
    DeadlineExceeded,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    RequestError,
    SlowRequest,
    TooLarge,
    Unauthorized,
)
from bigray.serve import doors, framing, limits, pages
from bigray.serve.auth import Gate, is_health
from bigray.serve.problems import CONTENT_TYPE, problem_body, retry_after_s

CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
IMPORT_PATH = "bigray.serve.edge:middlewares"
KEYS, HOSTS = "BIGRAY_KEYS_FILE", "BIGRAY_HOSTS"
MAX_BODY_BYTES = int(os.environ.get("BIGRAY_MAX_BODY_BYTES", 64 * 2**20))
BODY_IDLE_S, BODY_S = 8.0, 120.0
"""Longest wait for the next piece of a body, and for all of it."""
_CLOSING = {400, 408, 413, 414, 431}
"""Refusals after which the rest of the request will not be read."""

log = logging.getLogger("ray.serve")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def middlewares() -> list[Middleware]:
    """Return what Serve asks for when it starts a proxy."""
    doors.dialects()  # loaded now, and not while the first caller waits
    keys = os.environ.get(KEYS)
    hosts = os.environ.get(HOSTS)
    return [
        Middleware(
            Edge,
            gate=Gate(Path(keys)) if keys is not None else None,
            hosts=frozenset(hosts.split(",")) if hosts is not None else None,
        )
    ]


class Edge:
    """The middleware."""

    def __init__(self, app: App, gate: Gate | None = None, hosts: frozenset[str] | None = None) -> None:
        self._app = app
        self._gate = gate
        self._hosts = hosts

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass one request on, within limits."""
        if scope["type"] != "http":  # websockets: there are none here, and they would pass without a key
            await send({"type": "websocket.close", "code": 1008})
            return
        head = framing.Head.of(scope)
        answer = _Answer(send, head.identity, scope["path"])
        try:
            head.check(None if is_health(scope["path"]) else self._hosts)
            if self._gate is not None and not pages.public(scope["method"], scope["path"], _accept(head.kept)):
                self._gate.check(scope["path"], head.authorizations)
            if head.declared is not None and head.declared > MAX_BODY_BYTES:
                raise _too_large()
        except BigrayError as error:
            # Serve logs what reaches it; what does not is logged here, without query, headers and body
            log.warning(
                "refused %s %.200s %d %s %s",
                _plain(scope["method"]),
                _plain(scope["path"]),
                error.status,
                error.code,
                head.identity,
            )
            await answer.problem(error)
            return
        scope["headers"] = head.kept
        await self._app(scope, _Body(receive, answer).receive, answer.send)


class _Body:
    """The way in: hands on a body piece by piece, and ends the request when it is too much or too slow."""

    def __init__(self, receive: Receive, answer: _Answer) -> None:
        self._receive = receive
        self._answer = answer
        self._until = time.monotonic() + BODY_S
        self._size = self._pieces = 0
        self._whole = False

    async def receive(self) -> Message:
        if self._whole:  # what comes now is the end of the connection, however late
            return await self._receive()
        try:
            async with asyncio.timeout(min(BODY_IDLE_S, self._until - time.monotonic())):
                message = await self._receive()
            self._size += len(message.get("body", b""))
            self._pieces += 1
            if self._size > MAX_BODY_BYTES:
                raise _too_large()
            if self._pieces > limits.MAX_CHUNKS:
                raise limits.too_many_chunks()
        except TimeoutError:
            await self._answer.problem(SlowRequest(f"The body stood still for {BODY_IDLE_S:g} s, or took too long."))
            return {"type": "http.disconnect"}
        except BigrayError as error:
            await self._answer.problem(error)
            return {"type": "http.disconnect"}
        self._whole = not message.get("more_body", False)
        return message


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
        if (wait_s := retry_after_s(error)) is not None:
            headers.append((b"retry-after", str(wait_s).encode()))
        if isinstance(error, Unauthorized):
            headers.append((b"www-authenticate", b"Bearer"))
        if error.status in _CLOSING:
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _accept(headers: Sequence[tuple[bytes, bytes]]) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name.lower() == b"accept"]


def _plain(text: str) -> str:
    """Return text as one line of ASCII, so that nobody can write lines of their own into a log."""
    return text.encode("unicode_escape").decode("ascii")


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
    if status == 405:
        return MethodNotAllowed("This path does not answer that method.")
    return RequestError(f"The request was refused with HTTP status {status}.")


def _too_large() -> BigrayError:
    return TooLarge(f"The body is over {MAX_BODY_BYTES} bytes.", code="body_too_large")
