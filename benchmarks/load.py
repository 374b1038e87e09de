"""The load of the endpoint measures: a process of its own, so that it takes no turn of a server's interpreter.

    python -m benchmarks.load URL BODIES --clients 32 --seconds 8
    python -m benchmarks.load URL BODIES --rate 500 --seconds 60

BODIES is a file of JSON lines; each request sends one, in turn. Without ``--rate`` every client sends its next request when
it has its answer (closed loop); with it requests begin on a clock, whether answers come or not (open loop). Prints one
JSON line: how many were answered with which status, and what the answered and the refused ones took in ms.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import uvloop

LOST = 0
"""Stands where a status would: the connection was refused or lost, or no answer came in time."""
TIMEOUT_S = 30.0


class Connection(asyncio.Protocol):
    """One connection that is kept; a request at a time. A client of more comfort would take the cores that are measured."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[tuple[int, bool]] | None = None
        self._transport: asyncio.Transport | None = None
        self._told = False

    async def ask(self, request: bytes) -> tuple[int, bool]:
        """Send a request; return the status, and whether Retry-After came.

        Raises:
            ConnectionError: The connection was lost before the answer was whole.
        """
        if self._transport is None:
            raise ConnectionResetError
        self._answer = asyncio.get_running_loop().create_future()
        self._parser, self._told = httptools.HttpResponseParser(self), False
        self._transport.write(request)
        try:
            return await self._answer
        except asyncio.CancelledError:  # too late: the answer to this must not be taken for the next one's
            self._transport.abort()
            raise

    @property
    def open(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Look out for Retry-After."""
        self._told = self._told or name.lower() == b"retry-after"

    def on_message_complete(self) -> None:
        """Hand over the answer."""
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), self._told))

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the request that waits."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())


class Load:
    """Sends requests and notes what became of them."""

    def __init__(self, url: str, bodies: list[bytes]) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), parts.port or 80
        head = f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        whole = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        self._requests: Iterator[bytes] = itertools.cycle(whole)
        self._idle: list[Connection] = []
        self.seen: list[tuple[float, int, float, bool]] = []
        """Of each request: when it ended, its status, seconds from its begin, whether Retry-After came."""

    async def send(self) -> None:
        """Send one request and read its answer."""
        began, request = time.perf_counter(), next(self._requests)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                connection = await self._connection()
                status, told = await connection.ask(request)
            self._idle.append(connection)
        except (OSError, httptools.HttpParserError):
            status, told = LOST, False
        ended = time.perf_counter()
        self.seen.append((ended, status, ended - began, told))

    async def _connection(self) -> Connection:
        while self._idle:
            if (kept := self._idle.pop()).open:
                return kept
        _, made = await asyncio.get_running_loop().create_connection(Connection, self._host, self._port)
        return made

    async def closed(self, clients: int, seconds: float) -> None:
        """Keep ``clients`` requests in flight."""
        until = time.perf_counter() + seconds

        async def client() -> None:
            while time.perf_counter() < until:
                await self.send()

        await asyncio.gather(*(client() for _ in range(clients)))

    async def open(self, rate: float, seconds: float) -> None:
        """Begin ``rate`` requests each second."""
        began = time.perf_counter()
        running: set[asyncio.Task[None]] = set()
        for number in range(int(rate * seconds)):
            if (early := began + number / rate - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            task = asyncio.create_task(self.send())
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)


def summary(seen: list[tuple[float, int, float, bool]], seconds: float) -> dict[str, Any]:
    """Return what is printed."""
    good = sorted(took for _, status, took, _ in seen if status == 200)
    refused = [(took, told) for _, status, took, told in seen if status in {429, 503}]
    waits = sorted(took for took, _ in refused)
    return {
        "sent": len(seen),
        "statuses": {str(status): count for status, count in sorted(Counter(one[1] for one in seen).items())},
        "per_s": len(good) / seconds,
        "p50_ms": at(good, 0.5) * 1000,
        "p99_ms": at(good, 0.99) * 1000,
        "refused_p99_ms": at(waits, 0.99) * 1000,
        "refused_without_retry_after": sum(not told for _, told in refused),
    }


def at(ordered: list[float], share: float) -> float:
    """Return the value below which ``share`` of the values lie; 0 of none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def run(url: str, bodies: Path, **how: float) -> dict[str, Any]:
    """Run the load in a process of its own and return its line."""
    command = [sys.executable, "-m", "benchmarks.load", url, str(bodies)]
    for name, value in how.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def _main(given: argparse.Namespace) -> dict[str, Any]:
    load = Load(given.url, Path(given.bodies).read_bytes().splitlines())
    began = time.perf_counter()
    if given.rate:
        await load.open(given.rate, given.seconds)
    else:
        await load.closed(given.clients, given.seconds)
    return summary(load.seen, time.perf_counter() - began)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("url")
    parser.add_argument("bodies")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    print(json.dumps(uvloop.run(_main(parser.parse_args()))))
