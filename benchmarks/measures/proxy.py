"""Does any call through the SDK fail when the proxy is killed under load, and how long does nobody get an answer?

The proxy is two processes: HAProxy, which listens, and Serve's manager of it, which goes second.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import httpx
import psutil

from benchmarks.form import Bar, at_least, at_most
from benchmarks.served import DEADLINE_S, MODEL, TEXT, callers, listening_pid, served

BEFORE_S, AFTER_S, LONGEST_S = 5.0, 10.0, 60.0


def run(data: Path | None, work: Path) -> list[Bar]:
    with served(work, ["serve.min_replicas=2", "serve.max_replicas=2"]) as (url, _), callers(url) as seen:
        time.sleep(BEFORE_S)
        psutil.Process(listening_pid(url)).kill()
        outages_s = [_outage_s(url)]
        time.sleep(AFTER_S)
        psutil.Process(listening_pid(url)).parent().kill()
        outages_s.append(_outage_s(url))
        time.sleep(AFTER_S)
    print(f"{seen.answered} answered, the slowest in {seen.slowest_s:.1f} s", file=sys.stderr)
    print("\n".join(seen.failures[:5]), file=sys.stderr)
    return [
        at_most("HAProxy killed: nobody answered", outages_s[0], 10, "s"),
        at_most("its manager killed: nobody answered", outages_s[1], 10, "s"),
        at_least("proxy killed: calls answered", seen.answered, 100, ""),
        at_most(f"proxy killed: failed calls, deadline {DEADLINE_S:g} s", len(seen.failures), 0, ""),
    ]


def _outage_s(url: str) -> float:
    """Ask without any retry until there is an answer; return the time that took."""
    begun = time.monotonic()
    while (took_s := time.monotonic() - begun) < LONGEST_S:
        try:
            if httpx.post(f"{url}/models/{MODEL}", json={"inputs": TEXT}, timeout=5).is_success:
                return took_s
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    return took_s
