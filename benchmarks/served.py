"""A compressed text classifier behind `bigray up`, and callers of the SDK: what measures of faults and of waking share.

Every step is the command line's own, in a process of its own: ``run`` of the tiny recipe, ``up``, ``deploy``, ``down``.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bigray.client import Client
from bigray.errors import BigrayError

MODEL = "reviews"
TEXT = "a good film, well made and well played"
CALLERS, PAUSE_S = 8, 0.2
DEADLINE_S = 30.0
STEP_TIMEOUT_S = 600


@dataclass
class Calls:
    """What became of the calls of all callers."""

    answered: int = 0
    slowest_s: float = 0.0
    failures: list[str] = field(default_factory=list)


def bigray(work: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Run the command line, with what it notes of a running service kept in ``work``."""
    command = [sys.executable, "-m", "bigray.cli.main", *words]
    environment = os.environ | {"XDG_STATE_HOME": str(work / "state")}
    return subprocess.run(command, env=environment, check=check, timeout=STEP_TIMEOUT_S, stdout=sys.stderr)


@contextmanager
def up(work: Path) -> Iterator[str]:
    """Yield the URL of a service without models on a free port of this machine; stop everything at the end."""
    port = free_port()
    try:
        bigray(work, "up", "--port", str(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        bigray(work, "down", check=False)


@contextmanager
def served(work: Path, settings: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield URL and artifact of the model, served on a free port of this machine; stop everything at the end.

    Args:
        work: Folder for runs; the run in it is used again.
        settings: Overrides of the recipe, such as ``serve.min_replicas=2``.
    """
    overrides = [word for setting in (f"output={work}", *settings) for word in ("--set", setting)]
    bigray(work, "run", "text_classification.tiny", *overrides)
    artifact = work / "reviews-tiny" / "artifact"
    with up(work) as url:
        bigray(work, "deploy", str(artifact), "--name", MODEL)
        yield url, artifact


@contextmanager
def callers(url: str) -> Iterator[Calls]:
    """Ask the model through the SDK until the block ends, ``CALLERS`` at a time."""
    seen, lock, stop = Calls(), threading.Lock(), threading.Event()

    def call(client: Client) -> None:
        while not stop.wait(PAUSE_S):
            begun, failure = time.monotonic(), None
            try:
                client.text_classification(TEXT, model=MODEL)
            except BigrayError as error:
                failure = f"{type(error).__name__}: {error}"
            with lock:
                seen.slowest_s = max(seen.slowest_s, time.monotonic() - begun)
                if failure is None:
                    seen.answered += 1
                else:
                    seen.failures.append(failure)

    with Client(url, timeout_s=DEADLINE_S) as client:
        threads = [threading.Thread(target=call, args=(client,)) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        try:
            yield seen
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def replica_pid(url: str) -> int:
    """Return the process of one replica."""
    with Client(url, timeout_s=DEADLINE_S) as client:
        return int(client.describe(MODEL)["process"]["pid"])


def listening_pid(url: str) -> int:
    """Return the process that listens at an address: the proxy."""
    port = int(url.rpartition(":")[2])
    found = {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid
    }
    return int(found.pop())


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
