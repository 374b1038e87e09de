"""Does any call through the SDK fail when a replica is killed every 10 s, six times, under load?"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from benchmarks.served import callers, replica_pid, served

KILLS, EVERY_S = 6, 10.0


def run(data: Path | None, work: Path) -> list[Bar]:
    killed: list[int] = []
    with served(work, ["serve.min_replicas=2", "serve.max_replicas=2"]) as (url, _), callers(url) as seen:
        for _ in range(KILLS):
            time.sleep(EVERY_S)
            killed.append(replica_pid(url))
            os.kill(killed[-1], signal.SIGKILL)
        time.sleep(EVERY_S)
    print(f"killed {killed}; {seen.answered} answered, the slowest in {seen.slowest_s:.1f} s", file=sys.stderr)
    print("\n".join(seen.failures[:5]), file=sys.stderr)
    return [
        at_least("replica killed every 10 s: different processes killed", len(set(killed)), KILLS, ""),
        at_least("replica killed every 10 s: calls answered", seen.answered, 500, ""),
        at_most("replica killed every 10 s: failed calls", len(seen.failures), 0, ""),
    ]
