"""What the endpoint adds to the time of a prediction: one client on loopback, against the same predictor in this process."""

from __future__ import annotations

import json
import time
from pathlib import Path

from benchmarks import load
from benchmarks.form import Bar, at_most
from benchmarks.measures import serving
from bigray.predictor import open_artifact

ROUNDS, SECONDS = 5, 4


def run(data: Path | None, work: Path) -> list[Bar]:
    _, chosen = serving.artifacts(data, work)
    bodies = serving.bodies(data, work)
    predictor = open_artifact(chosen, threads=1)
    rows = [{"text": json.loads(line)["inputs"]} for line in bodies.read_text(encoding="utf-8").splitlines()]
    here, there = [], []
    with serving.served(chosen) as url:
        for _ in range(ROUNDS + 1):
            times = []
            until = time.perf_counter() + SECONDS
            for row in rows:
                began = time.perf_counter()
                predictor.predict([row])
                times.append((time.perf_counter() - began) * 1000)
                if times[-1] and time.perf_counter() > until:
                    break
            here.append(load.at(sorted(times), 0.5))
            there.append(load.run(url, bodies, clients=1, seconds=SECONDS)["p50_ms"])
    added = [outside - inside for inside, outside in zip(here, there, strict=True)][1:]  # the first round warms up
    about = f"in process {serving.median(here[1:]):.2f} ms, endpoint {serving.median(there[1:]):.2f} ms"
    return [at_most(f"p50 added by the endpoint, 1 client ({about})", serving.median(added), 3, "ms")]
