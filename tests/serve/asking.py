"""Asks a replica without Ray, through httpx's ASGI transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.requests import Request

from bigray.serve.replica import Replica


def app(replica: Replica) -> Callable[..., Any]:
    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        scope["root_path"] = f"/models/{replica.name}"
        response = await replica.answer(Request(scope, receive, send))
        await response(scope, receive, send)

    return asgi


@asynccontextmanager
async def client(replica: Replica) -> AsyncIterator[httpx.AsyncClient]:
    replica.batcher._worker = None  # each asyncio.run is a loop of its own
    transport = httpx.ASGITransport(app(replica))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://test/models/{replica.name}") as http:
        yield http
