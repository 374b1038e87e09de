"""Requests per second of one replica with 32 clients, beside other ways to serve: all up at once, asked in turn."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmarks import load
from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures import serving

CLIENTS, SECONDS, ROUNDS = 32, 6, 5


def run(data: Path | None, work: Path) -> list[Bar]:
    dense, chosen = serving.artifacts(data, work)
    bodies = serving.bodies(data, work)
    with ExitStack() as stack:
        folder = serving.transformers_folder(dense, work)
        urls = {
            "bigray": stack.enter_context(serving.served(chosen)),
            "stock": stack.enter_context(serving.program("benchmarks.peers.stock", "/", folder)),
            "litserve": stack.enter_context(serving.program("benchmarks.peers.lit", "/predict", chosen)),
            "bare": stack.enter_context(serving.program("benchmarks.peers.bare", "/", chosen)),
        }
        rounds = [
            {name: load.run(url, bodies, clients=CLIENTS, seconds=SECONDS) for name, url in urls.items()}
            for _ in range(ROUNDS + 1)
        ][1:]  # the first one warms up
    lost = sum(one["sent"] - one["statuses"].get("200", 0) for each in rounds for one in each.values())

    def ratio(other: str, field: str) -> float:
        return serving.median([each["bigray"][field] / each[other][field] for each in rounds])

    def shown(name: str, field: str) -> float:
        return round(serving.median([each[name][field] for each in rounds]), 1)

    rates = ", ".join(f"{name} {shown(name, 'per_s')}" for name in urls)
    return [
        at_least(
            f"requests/s, 32 clients ({rates}): bigray over a stock Serve pipeline", ratio("stock", "per_s"), 6, "x"
        ),
        at_least("requests/s: bigray over LitServe", ratio("litserve", "per_s"), 1, "x"),
        at_least("requests/s: bigray over bare FastAPI", ratio("bare", "per_s"), 0.8, "x"),
        at_most(
            f"p99 (bigray {shown('bigray', 'p99_ms')} ms, LitServe {shown('litserve', 'p99_ms')} ms): bigray over LitServe",
            ratio("litserve", "p99_ms"),
            1,
            "x",
        ),
        at_most("requests not answered", lost, 0, ""),
    ]
