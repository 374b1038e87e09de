"""What is counted and logged: the numbers, and never what was asked."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import client
from cases import GOOD_TEXT, SECRET

from bigray.recipe import Serve
from bigray.serve import edge, framing
from bigray.serve.observe import PrometheusMeter
from bigray.serve.replica import Replica


class Metrics:
    """Stands in for ray.serve.metrics."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Any]] = {}

    def Counter(self, name: str, description: str, tag_keys: tuple[str, ...]) -> Metric:  # noqa: N802
        return Metric(self.seen.setdefault(name, []), tag_keys)

    def Histogram(self, name: str, description: str, boundaries: list[float], tag_keys: tuple[str, ...]) -> Metric:  # noqa: N802
        assert boundaries == sorted(boundaries)
        return Metric(self.seen.setdefault(name, []), tag_keys)


class Metric:
    def __init__(self, seen: list[Any], tag_keys: tuple[str, ...]) -> None:
        self.seen = seen
        self.tag_keys = tag_keys
        self.default: dict[str, str] = {}

    def set_default_tags(self, tags: dict[str, str]) -> None:
        self.default = tags

    def inc(self, value: float, tags: dict[str, str] | None = None) -> None:
        told = self.default | (tags or {})
        assert set(told) == set(self.tag_keys), "Ray refuses a record whose tags are not all known"
        self.seen.append((value, told))

    def observe(self, value: float) -> None:
        assert set(self.default) == set(self.tag_keys)
        self.seen.append(value)


def test_requests_batches_and_times(artifacts: dict[str, Path], settings: Serve) -> None:
    metrics = Metrics()
    meter = PrometheusMeter("texts", metrics)
    replica = Replica.open(str(artifacts["text_classification"]), "texts", settings, meter)

    async def run() -> None:
        async with client(replica) as http:
            await http.post("", json={"inputs": ["a good film"] * 3})
            await http.post("", json={"inputs": SECRET, "nothing": 1})
            await http.post("/v2/models/texts/infer", json={})
            await http.post("/nothing", json=GOOD_TEXT)
            await http.get("")

    asyncio.run(run())
    counted = [(tags["dialect"], tags["status"]) for _, tags in metrics.seen["bigray_requests"]]
    assert counted == [("huggingface", "200"), ("huggingface", "422"), ("openinference", "422"), ("none", "404")]
    assert sum(metrics.seen["bigray_batch_items"]) == 3
    assert metrics.seen["bigray_input_bytes"][0][0] == 3 * len("a good film")
    assert len(metrics.seen["bigray_request_ms"]) == 1
    assert all(value >= 0 for value in metrics.seen["bigray_queue_wait_ms"] + metrics.seen["bigray_inference_ms"])
    assert SECRET not in str(metrics.seen)


def test_canaries_are_counted_by_outcome() -> None:
    metrics = Metrics()
    meter = PrometheusMeter("texts", metrics)
    for outcome in ("answered", "same", "same", "different", "failed"):
        meter.canary(outcome)
    outcomes = [tags["outcome"] for _, tags in metrics.seen["bigray_canary"]]
    assert outcomes == ["answered", "same", "same", "different", "failed"]


def test_health_runs_an_inference_but_not_for_everybody(
    replicas: dict[str, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = replicas["texts"]
    monkeypatch.setattr(replica, "_healthy_at", -1e9)
    monkeypatch.setattr(replica, "_health", asyncio.Lock())
    predict = type(replica.predictor).predict
    ran: list[int] = []

    def counted(self: Any, rows: Any, parameters: Any = None) -> Any:
        ran.append(len(rows))
        return predict(self, rows, parameters)

    def broken(*_: Any) -> Any:
        raise RuntimeError("out of order")

    async def run() -> None:
        async with client(replica) as http:
            monkeypatch.setattr(type(replica.predictor), "predict", counted)
            answers = await asyncio.gather(*(http.get("/healthz") for _ in range(20)))
            assert {answer.status_code for answer in answers} == {200}
            assert ran == [1]
            monkeypatch.setattr(replica, "_healthy_at", -1e9)
            monkeypatch.setattr(type(replica.predictor), "predict", broken)
            sick = await http.get("/healthz")
            assert (sick.status_code, sick.json()["code"]) == (503, "overloaded")
            assert "out of order" not in sick.text

    asyncio.run(run())


class App:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.headers = dict(scope["headers"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def ask(app: App, path: str, headers: dict[str, str], **more: Any) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(edge.Edge(app, **more))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return await http.post(path, headers=headers)

    return asyncio.run(run())


TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("given", "followed"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", True),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", False),
        (f"00-{TRACE}", False),
        (TRACE.upper(), False),
    ],
)
def test_traces_are_followed(given: str, followed: bool) -> None:
    app = App()
    ask(app, "/", {"traceparent": given})
    assert app.headers[b"traceparent"] == given.encode()
    assert (app.headers[b"x-request-id"] == TRACE.encode()) == followed
    ask(app, "/", {"traceparent": given, "x-request-id": "own"})
    assert app.headers[b"x-request-id"] == b"own"


def test_the_time_of_receipt_cannot_be_forged() -> None:
    app = App()
    ask(app, "/", {"x-bigray-received": "1"})
    assert float(app.headers[b"x-bigray-received"]) > 1_000_000_000
    assert b"x-bigray-received" in framing.STRIPPED


def test_refusals_are_logged_in_one_plain_line(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("ray.serve")
    logger.addHandler(caplog.handler)
    try:
        ask(
            App(), f"/models/a%0d%0aforged?token={SECRET}", {"host": "evil", "x-own": SECRET}, hosts=frozenset({"here"})
        )
    finally:
        logger.removeHandler(caplog.handler)
    line = next(record.getMessage() for record in caplog.records if "refused" in record.getMessage())
    assert line.startswith("refused POST /models/a\\r\\nforged 403 wrong_host ")
    assert "\n" not in line
    assert SECRET not in line
