"""Requests per second of one replica with 32 clients, beside other ways to serve: all up at once, asked in turn.

Also asked: the same endpoint behind Serve's own proxy in place of HAProxy, and an empty deployment behind that proxy, which
is the most that any model there could reach.
"""

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
            "own proxy": stack.enter_context(serving.served(chosen, haproxy=False)),
            "stock": stack.enter_context(serving.program("benchmarks.peers.stock", "/", folder)),
            "litserve": stack.enter_context(serving.program("benchmarks.peers.lit", "/predict", chosen)),
            "bare": stack.enter_context(serving.program("benchmarks.peers.bare", "/", chosen)),
        }
        urls |= {"roomy": f"{urls['stock']}roomy/", "empty": f"{urls['stock']}empty"}
        rounds = [
            {name: load.run(url, bodies, clients=CLIENTS, seconds=SECONDS) for name, url in urls.items()}
            for _ in range(ROUNDS + 1)
        ][1:]  # the first one warms up
    lost = sum(one["sent"] - one["statuses"].get("200", 0) for each in rounds for one in each.values())

    def ratio(other: str, field: str, own: str = "bigray") -> float:
        return serving.median([each[own][field] / each[other][field] for each in rounds])

    def beside(other: str, field: str = "per_s") -> str:
        return f"bigray over {other} (behind Serve's own proxy {ratio(other, field, 'own proxy'):.2f})"

    def shown(name: str, field: str) -> float:
        return round(serving.median([each[name][field] for each in rounds]), 1)

    rates = ", ".join(f"{name} {shown(name, 'per_s')}" for name in urls)
    return [
        at_least(f"requests/s, 32 clients ({rates}): {beside('stock')}", ratio("stock", "per_s"), 6, "x"),
        at_least(
            f"requests/s: {beside('roomy')}, which is stock with max_ongoing_requests=100",
            ratio("roomy", "per_s"),
            6,
            "x",
        ),
        at_least(f"requests/s: {beside('litserve')}", ratio("litserve", "per_s"), 1, "x"),
        at_least(f"requests/s: {beside('bare')}", ratio("bare", "per_s"), 0.8, "x"),
        at_most(
            f"p99, bigray {shown('bigray', 'p99_ms')} ms: {beside('litserve', 'p99_ms')}",
            ratio("litserve", "p99_ms"),
            1,
            "x",
        ),
        at_most("requests not answered", lost, 0, ""),
    ]
