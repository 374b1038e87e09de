"""Is a request to a model that sleeps (no replica) held until it is awake, and how much longer than its loading is that?"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from benchmarks.form import Bar, at_least, at_most
from benchmarks.served import DEADLINE_S, MODEL, TEXT, replica_pid, served
from bigray.client import Client
from bigray.errors import BigrayError

AT_ONCE, LOADS = 20, 3
ASLEEP_WITHIN_S = 300.0
LOAD = "from bigray.serve.app import Replica; from bigray.recipe import Serve; Replica.open(%r, 'reviews', Serve())"


def run(data: Path | None, work: Path) -> list[Bar]:
    with served(work, ["serve.min_replicas=0", "serve.max_replicas=2"]) as (url, artifact):
        pid = replica_pid(url)
        until = time.monotonic() + ASLEEP_WITHIN_S
        while psutil.pid_exists(pid) and time.monotonic() < until:
            time.sleep(0.5)
        asleep = not psutil.pid_exists(pid)
        with Client(url, timeout_s=10) as client:
            listed = [model["id"] for model in client.models()]
        load_s = statistics.median(_load_s(artifact) for _ in range(LOADS))
        begun = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            told = list(pool.map(_ask, [url] * AT_ONCE))
        wake_s = time.monotonic() - begun
    refused = [one for one in told if one]
    print(f"wake {wake_s:.1f} s, loading alone {load_s:.1f} s; listed asleep: {listed}; {refused[:3]}", file=sys.stderr)
    return [
        at_least("wake: replica gone before, model still listed", asleep and listed == [MODEL], 1, ""),
        at_most(f"wake: requests refused of {AT_ONCE} at once, without retries", len(refused), 0, ""),
        at_most("wake: time to the last answer beyond loading the model", wake_s - load_s, 3, "s"),
    ]


def _ask(url: str) -> str:
    """Ask once; return what went wrong."""
    try:
        with Client(url, timeout_s=DEADLINE_S, retries=0) as client:
            client.text_classification(TEXT, model=MODEL)
    except BigrayError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _load_s(artifact: Path) -> float:
    """Load and warm up the model as a replica does, in a process of its own; return the seconds from its start."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", LOAD % str(artifact)], check=True)
    return time.monotonic() - begun
