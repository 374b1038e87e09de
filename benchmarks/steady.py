"""Callers that ask at an even pace, whatever becomes of their requests: what each was answered, and when."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

CALLERS = 12


@dataclass(frozen=True)
class Answer:
    """What became of one request."""

    row: int
    at_s: float
    """When it was due, on the clock of `time.monotonic`."""
    took_s: float
    label: str | None
    """None: it failed."""
    trouble: str = ""
    echoed: bool = True
    """Whether the answer carried the request's own id."""


@dataclass
class Traffic:
    """What has been answered so far."""

    asked: int = 0
    answers: list[Answer] = field(default_factory=list)

    def since(self, at_s: float) -> list[Answer]:
        """Return the answers to requests that were due since then."""
        return [answer for answer in list(self.answers) if answer.at_s >= at_s]


@contextmanager
def traffic(url: str, texts: Sequence[str], per_s: float) -> Iterator[Traffic]:
    """Send texts to a model, one after another and again and again, ``per_s`` a second; stop at the end of the block."""
    seen = Traffic()
    stop, lock = threading.Event(), threading.Lock()
    began = time.monotonic()

    def call(http: httpx.Client) -> None:
        while not stop.is_set():
            with lock:
                number, seen.asked = seen.asked, seen.asked + 1
            due = began + number / per_s
            stop.wait(due - time.monotonic())
            identity = str(uuid.uuid4())
            begun = time.monotonic()
            row, label, trouble, echoed = number % len(texts), None, "", False
            try:
                response = http.post(url, json={"inputs": texts[row]}, headers={"x-request-id": identity})
                echoed = response.headers.get_list("x-request-id") == [identity]
                if response.status_code == 200:
                    label = response.json()[0][0]["label"]
                else:
                    trouble = f"{response.status_code} {response.text[:200]}"
            except httpx.HTTPError as error:
                trouble = repr(error)
            seen.answers.append(Answer(row, due, time.monotonic() - begun, label, trouble, echoed))

    clients = [httpx.Client(timeout=30) for _ in range(CALLERS)]
    threads = [threading.Thread(target=call, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for client in clients:
            client.close()
