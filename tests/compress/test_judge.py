"""What was measured of a candidate is judged anew under each budget, and never measured twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from bigray import measure
from bigray import recipe as recipes
from bigray.compress import search
from bigray.compress.plan import Plan
from bigray.compress.search import Judge, _machine
from bigray.results import Estimate, Latency, Variant, Verified
from bigray.schemas import Chunk, Transcript

PLAN = Plan(engine="openvino")
MEASURED = Verified(
    dropped=(2.0, 1.0, 3.0),
    rows=100,
    dense=Variant(engine="torch_eager", metrics={"accuracy": Estimate(value=0.5, low=0.4, high=0.6, rows=100)}),
    chosen=Variant(
        engine="openvino",
        latency=[Latency(batch_size=1, threads=1, p50_ms=1, p95_ms=2, items_per_s=1000, spread=0.1, runs=9)],
        speedup=3.0,
        speedups=(3.0,),
        size_bytes=5_000_000,
    ),
)


@pytest.mark.parametrize(
    ("limits", "why_not"),
    [
        (["compress.max_drop=2.5"], None),
        (["compress.max_drop=1"], "drops 2.00 points; at most 1 are allowed"),
        # 5 % of the dense model's 0.5 on the unseen rows
        (["compress.max_drop=5", "compress.max_drop_unit=percent"], None),
        (["compress.max_drop=3", "compress.max_drop_unit=percent"], "at most 1.5 are allowed"),
        (["compress.max_drop=2.5", "compress.p95_ms=1"], "takes 2 ms"),
        (["compress.max_drop=2.5", "compress.size_mb=4"], "has 5 MB"),
    ],
)
def test_another_budget_is_judged_by_what_was_measured(tmp_path: Path, limits: list[str], why_not: str | None) -> None:
    (tmp_path / f"verified-{_machine()}.json").write_text(MEASURED.model_dump_json())
    nowhere = tmp_path / "no dense model is opened"
    judge = Judge(recipes.read("text_classification.tiny", limits), nowhere, [], "accuracy")
    verdict, found = judge(tmp_path, PLAN)
    assert found == MEASURED
    assert verdict.qualified is (why_not is None)
    assert (why_not or "is 3.00x faster") in verdict.reason
    assert (verdict.drop_points, verdict.drop_low, verdict.drop_high, verdict.rows) == (2.0, 1.0, 3.0, 100)


def test_answers_kept_are_those_that_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [
        Transcript(text="one\u2028two \x85 \n ß", chunks=[Chunk(text="one", timestamp=(0.1, 1 / 3))]),
        Transcript(text=""),
    ]

    class Remote:
        def remote(self, *_: object) -> list[Transcript]:
            return given

    asked: list[object] = []
    monkeypatch.setattr(search, "_alone", lambda function, engines: asked.append(function) or Remote())
    monkeypatch.setattr(search.ray, "get", lambda found: found)
    monkeypatch.setattr(search.ray, "put", lambda found: found)
    judge = Judge(recipes.read("automatic_speech_recognition.tiny"), tmp_path, [{}, {}], "wer")
    assert judge._answers(tmp_path, None) == given
    assert judge._answers(tmp_path, None) == given
    assert len(asked) == 1


@pytest.mark.parametrize("changed", [{"cpu": "another one"}, {"flags": []}, {"cores": 1000}])
def test_what_another_machine_measured_does_not_count(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, object]
) -> None:
    here, real = _machine(), measure.hardware()
    monkeypatch.setattr(measure, "hardware", lambda: real | {"load_average": [9.0, 9.0, 9.0]})
    assert _machine() == here  # a busy machine is the same
    monkeypatch.setattr(measure, "hardware", lambda: real | changed)
    assert _machine() != here


def test_what_other_versions_measured_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    here = _machine()
    monkeypatch.setattr(measure, "versions", lambda: {"openvino": "1999.1"})
    assert _machine() != here
