"""What the endpoint adds to the time of a prediction: one client on loopback, against the same predictor in this process.

They are asked in turns, sentence by sentence, so that neither finds its weights in the caches that its own last call left:
a model that is asked without a pause takes about two thirds of the time of one that waited some ms.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from benchmarks import load
from benchmarks.form import Bar, at_most
from benchmarks.measures import serving
from bigray.predictor import Predictor, open_artifact

WARMUP, ROUNDS = 100, 1500


def run(data: Path | None, work: Path) -> list[Bar]:
    _, chosen = serving.artifacts(data, work)
    bodies = serving.bodies(data, work).read_bytes().splitlines()
    with serving.served(chosen) as url:
        pairs = asyncio.run(_turns(url, bodies, open_artifact(chosen, threads=1)))
    here, there = ([pair[side] * 1000 for pair in pairs] for side in (0, 1))
    added = serving.median([outside - inside for inside, outside in zip(here, there, strict=True)])
    about = f"in process {serving.median(here):.2f} ms, endpoint {serving.median(there):.2f} ms"
    return [at_most(f"p50 added by the endpoint, 1 client ({about})", added, 3, "ms")]


async def _turns(url: str, bodies: list[bytes], predictor: Predictor) -> list[tuple[float, float]]:
    """Return the seconds that each sentence took in this process and through the endpoint."""
    client, here = load.Load(url, bodies), []
    for number in range(WARMUP + ROUNDS):
        row = {"text": json.loads(bodies[number % len(bodies)])["inputs"]}
        began = time.perf_counter()
        predictor.predict([row])
        here.append(time.perf_counter() - began)
        await client.send()
    if any(status != 200 for _, status, _, _ in client.seen):
        raise RuntimeError("The endpoint did not answer every request.")
    return list(zip(here, (seconds for _, _, seconds, _ in client.seen), strict=True))[WARMUP:]
