"""The picture of a search that travels in the artifact."""

from __future__ import annotations

from pathlib import Path

import pytest

from bigray import front
from bigray.artifact import Step
from bigray.results import Estimate, Latency, Results, Trial, Variant


def variant(value: float, ms: float, size: int, engine: str = "openvino") -> Variant:
    latency = Latency(batch_size=1, threads=1, p50_ms=ms, p95_ms=ms * 1.5, items_per_s=1, spread=0, runs=10)
    metrics = {"wer": Estimate(value=value, low=0, high=1, rows=10)}
    return Variant(
        engine=engine, steps=(Step(method="quantize_static"),), metrics=metrics, latency=[latency], size_bytes=size
    )


def results(count: int = 3) -> Results:
    trials = [
        Trial(number=i, status="ok", variant=variant(0.20 + i / 100, 5.0 - i / 100, 1000 + i), drop_points=10.0 + i, on_front=i < 2, chosen=i == 1)
        for i in range(count)
    ]  # fmt: skip
    trials.append(Trial(number=count, status="failed", variant=Variant(engine="onnxruntime"), reason="no"))
    return Results(
        name="r", task="t", metric="wer", higher_is_better=False, max_drop=1.0, started="", trials=trials,
        dense=variant(0.5, 9.0, 4000, "torch_eager"),
    )  # fmt: skip


def test_points_carry_what_the_search_measured(tmp_path: Path) -> None:
    found = front.of(results())
    assert found is not None
    assert [point.kind for point in found.points] == ["chosen", "front", "candidate", "dense"]
    assert found.tried == 4
    chosen, dense = found.points[0], found.points[-1]
    assert chosen.quality == pytest.approx(0.21)
    assert (chosen.p50_ms, chosen.p95_ms, chosen.size_bytes) == (4.99, 4.99 * 1.5, 1001)
    # on the rows of the search, not on those of the test split: an error rate 11 points lower than the candidate's
    assert dense.quality == pytest.approx(0.21 - 0.11)
    front.write(results(), tmp_path)
    assert front.read(tmp_path) == found


def test_a_long_search_is_cut_and_a_missing_or_strange_file_is_none(tmp_path: Path) -> None:
    found = front.of(results(500))
    assert found is not None
    assert len(found.points) == front.MAX_POINTS + 1
    assert {point.kind for point in found.points} == {"chosen", "front", "candidate", "dense"}
    assert front.of(results().model_copy(update={"trials": []})) is None
    front.write(results().model_copy(update={"trials": []}), tmp_path)
    assert not (tmp_path / front.FILE).exists()
    assert front.read(tmp_path) is None
    (tmp_path / front.FILE).write_text('{"points": 3}')
    assert front.read(tmp_path) is None
    (tmp_path / front.FILE).write_text(" " * 300_000)
    assert front.read(tmp_path) is None
