"""What a replica counts, for Prometheus. No Ray here: `bigray.serve.app` gives a meter that Ray exports.

Names (Ray puts ``ray_`` before each): ``bigray_requests`` by model, dialect and status; ``bigray_request_ms``;
``bigray_batch_items``; ``bigray_queue_wait_ms``; ``bigray_inference_ms``; ``bigray_input_bytes``; ``bigray_canary`` by
outcome (answered, failed, same, different: the last two are agreement with the present version). Never what was asked.
"""

from __future__ import annotations

from typing import Any, Protocol

LATENCY_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 20_000.0)
"""Upper ends of the buckets of times."""
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Upper ends of the buckets of batches."""


class Meter(Protocol):
    """What counts."""

    def request(self, dialect: str, status: int, took_ms: float) -> None:
        """A request was answered or refused."""

    def batch(self, items: int, size_bytes: int, waited_ms: float, took_ms: float) -> None:
        """An inference ended; ``waited_ms`` is the wait of its oldest item."""

    def canary(self, outcome: str) -> None:
        """A canary ``answered`` a caller or ``failed``; or its answer was the ``same`` as the present one's or ``different``."""


class NoMeter:
    """Counts nothing."""

    def request(self, dialect: str, status: int, took_ms: float) -> None:
        """Nothing."""

    def batch(self, items: int, size_bytes: int, waited_ms: float, took_ms: float) -> None:
        """Nothing."""

    def canary(self, outcome: str) -> None:
        """Nothing."""


class PrometheusMeter:
    """Counts through classes with the interface of ``ray.serve.metrics``.

    Args:
        model: Value of the tag ``model``.
        metrics: Module with Counter and Histogram.
    """

    def __init__(self, model: str, metrics: Any) -> None:
        tags = {"model": model}

        def histogram(name: str, about: str, boundaries: tuple[float, ...]) -> Any:
            made = metrics.Histogram(name, description=about, boundaries=list(boundaries), tag_keys=("model",))
            made.set_default_tags(dict(tags))
            return made

        keys = ("model", "dialect", "status")
        self._requests = metrics.Counter("bigray_requests", description="Requests answered or refused", tag_keys=keys)
        self._requests.set_default_tags(dict(tags))
        self._canary = metrics.Counter("bigray_canary", description="What a canary did", tag_keys=("model", "outcome"))
        self._canary.set_default_tags(dict(tags))
        self._bytes = metrics.Counter("bigray_input_bytes", description="Bytes of inputs", tag_keys=("model",))
        self._bytes.set_default_tags(dict(tags))
        self._latency = histogram("bigray_request_ms", "From receipt to answer, in ms", LATENCY_MS)
        self._items = histogram("bigray_batch_items", "Items in one inference", SIZES)
        self._waited = histogram("bigray_queue_wait_ms", "Wait of the oldest item of a batch, in ms", LATENCY_MS)
        self._inference = histogram("bigray_inference_ms", "One inference, in ms", LATENCY_MS)

    def request(self, dialect: str, status: int, took_ms: float) -> None:
        """Count by dialect and status."""
        self._requests.inc(1, tags={"dialect": dialect, "status": str(status)})
        if status < 400:
            self._latency.observe(took_ms)

    def batch(self, items: int, size_bytes: int, waited_ms: float, took_ms: float) -> None:
        """Count one inference."""
        self._items.observe(items)
        self._waited.observe(waited_ms)
        self._inference.observe(took_ms)
        if size_bytes:
            self._bytes.inc(size_bytes)

    def canary(self, outcome: str) -> None:
        """Count by outcome."""
        self._canary.inc(1, tags={"outcome": outcome})
