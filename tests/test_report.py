"""The report: everything a run found out, in one valid page that loads nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bigray import charts, report
from bigray.artifact import Step
from bigray.results import Estimate, Latency, Results, Trial, Variant, Verdict

VOID = {"meta", "br", "img", "hr", "input", "link", "line", "circle", "rect", "polyline"}


def latency(p50_ms: float, batch_size: int = 1) -> Latency:
    return Latency(
        batch_size=batch_size,
        threads=1,
        p50_ms=p50_ms,
        p95_ms=p50_ms * 1.2,
        items_per_s=1000 * batch_size / p50_ms,
        spread=0.04,
        runs=400,
    )


def estimate(value: float, rows: int = 1000) -> Estimate:
    return Estimate(value=value, low=value - 0.012, high=value + 0.011, rows=rows)


def candidate(
    number: int,
    value: float,
    p50_ms: float,
    size: float,
    steps: tuple[Step, ...],
    *,
    front: bool = False,
    chosen: bool = False,
) -> Trial:
    variant = Variant(
        engine="openvino" if number % 3 else "onnxruntime",
        steps=steps,
        metrics={"accuracy": estimate(value)},
        latency=[latency(p50_ms)],
        speedup=24.6 / p50_ms,
        size_bytes=int(size * 1e6),
    )
    return Trial(
        number=number,
        status="ok",
        variant=variant,
        drop_points=round(100 * (0.8936 - value), 2),
        reason=None
        if value > 0.8836
        else f"drops {100 * (0.8936 - value):.2f} points on validation; at most 1 are allowed",
        seconds=31.0 + number,
        on_front=front,
        chosen=chosen,
    )


def steps(ratio: float | None = None, method: str | None = None) -> tuple[Step, ...]:
    pruned = [Step(method="prune_structured", knobs={"ratio": ratio})] if ratio else []
    return (*pruned, *([Step(method=method)] if method else []))


@pytest.fixture
def results() -> Results:
    """A run as it comes out in life: a winner, a front, a failed and a skipped candidate."""
    failed = Variant(engine="onnxruntime", steps=steps(0.5, "quantize_static"))
    trials = [
        candidate(0, 0.8936, 14.1, 90.9, (), front=True),
        candidate(1, 0.8921, 9.2, 91.1, steps(None, "quantize_dynamic")),
        candidate(2, 0.8902, 6.3, 23.4, steps(None, "quantize_static"), front=True),
        candidate(3, 0.8871, 4.7, 16.0, steps(0.31, "quantize_static"), front=True, chosen=True),
        candidate(4, 0.8719, 3.2, 12.2, steps(0.52, "quantize_static"), front=True),
        candidate(5, 0.8810, 11.0, 61.7, steps(0.33)),
        candidate(6, 0.8544, 8.3, 41.7, steps(0.6)),
        Trial(
            number=7,
            status="failed",
            variant=failed,
            reason="ConversionError: <b>no</b> operator was quantized",
            seconds=12.5,
        ),
        Trial(number=8, status="skipped", variant=failed, reason="the time allowed was over"),
    ]
    dense = Variant(
        engine="torch_eager",
        metrics={"accuracy": estimate(0.889), "macro_f1": estimate(0.886)},
        latency=[latency(24.6), latency(152.0, 16)],
        size_bytes=90_870_000,
    )
    chosen = Variant(
        engine="openvino",
        steps=trials[3].variant.steps,
        metrics={"accuracy": estimate(0.885), "macro_f1": estimate(0.882)},
        latency=[latency(4.7), latency(31.0, 16)],
        speedup=5.23,
        size_bytes=16_000_000,
    )
    return Results(
        name="sentiment",
        task="text_classification",
        metric="accuracy",
        higher_is_better=True,
        max_drop=1.0,
        started="2026-03-01T10:15:00+00:00",
        seconds={"data": 1.2, "train": 184.0, "search": 3912.0, "verify": 31.4},
        rows={"train": 6920, "validation": 436, "test": 436},
        history=[
            {"epoch": epoch, "loss": loss, "learning_rate": 2e-5, "seconds": 60.1, "rows": 6920, "accuracy": accuracy}
            for epoch, loss, accuracy in [(0, 0.512, 0.861), (1, 0.284, 0.884), (2, 0.201, 0.8921), (3, 0.166, 0.8936)]
        ],
        dense=dense,
        chosen=chosen,
        trials=trials,
        verdict=Verdict(
            qualified=True,
            reason="drops 0.40 points on unseen rows (at most 1) and is 5.23x faster",
            max_drop=1.0,
            drop_points=0.4,
            drop_low=-0.6,
            drop_high=1.5,
            speedup=5.23,
            rows=1000,
        ),
        artifact="artifact",
        hardware={
            "cpu": "Intel(R) Xeon(R)",
            "cores": 2,
            "memory_bytes": 25_276_502_016,
            "flags": ["avx2", "avx512_vnni"],
        },
        versions={"python": "3.11.7", "ray": "2.60.0"},
        recipe={"name": "sentiment", "task": "text_classification", "train": {"epochs": 4}},
    )


class Checker(HTMLParser):
    """Every tag closed in order; ids and attributes not repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.problems: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.problems.append(f"<{tag}> repeats an attribute at {self.getpos()}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing at {self.getpos()}")


def check_page(page: str) -> None:
    checker = Checker()
    checker.feed(page)
    assert checker.problems == []
    assert checker.open == []
    assert page.startswith("<!DOCTYPE html>")
    assert not re.search(r"""(src|href)\s*=|https?://|url\(|@import|<script""", page)
    assert "nan" not in re.findall(r"[\w.]+", re.sub(r"<style>.*?</style>", "", page, flags=re.S).lower())


def test_a_whole_run_is_one_valid_page_without_links(results: Results, tmp_path: Path) -> None:
    report.write(results, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    check_page(page)
    assert "5.23 times faster, accuracy 0.4 points lower" in page
    assert "prefers-color-scheme:dark" in page


def test_every_trial_is_a_row_and_only_finished_ones_are_drawn(results: Results) -> None:
    page = report.render(results)
    for trial in results.trials:
        assert f'<td class="n">{trial.number}</td>' in page
    assert page.count('class="mark candidate') + page.count('class="mark front') == 6
    assert page.count('class="mark dense"') == 1
    assert "✗ failed" in page
    assert "The time allowed was over." in page


def test_single_recipes_are_marked_and_steps_are_told_apart(results: Results) -> None:
    moved = results.trials[2].variant.model_copy(update={"engine": "onnxruntime"})  # as the chosen one's
    trials = [*results.trials[:2], results.trials[2].model_copy(update={"variant": moved}), *results.trials[3:]]
    page = report.render(results.model_copy(update={"trials": trials}))
    assert page.count(' single"') == 5  # no step, two times a quantization, two times pruning
    table = page.split("What each step adds")[1].split("</table>")[0]
    rows = re.findall(r"<tr.*?</tr>", table, flags=re.S)[1:]
    assert len(rows) == 4  # the engine alone, pruned, quantized, both
    assert "14.1 ms" in rows[0]
    assert "not tried" in rows[1]  # pruned by this share alone
    assert "6.3 ms" in rows[2]
    assert 'class="picked"' in rows[3]
    hours = sum(trial.seconds for trial in results.trials) / 3600
    assert f"{hours:.3g} core-hours" in page
    assert "GPU-hours" not in page
    held = [trial.model_copy(update={"cores": 3.0, "gpus": 2}) for trial in trials]
    page = report.render(results.model_copy(update={"trials": held}))
    assert f"{3 * hours:.3g} core-hours, {2 * hours:.3g} GPU-hours" in page
    assert "p95 latency in ms" in page


def test_what_comes_from_outside_is_escaped(results: Results) -> None:
    page = report.render(results.model_copy(update={"name": "<script>alert(1)</script>"}))
    check_page(page)
    assert "&lt;b&gt;no&lt;/b&gt;" in page


def test_nothing_qualified_is_said_first(results: Results) -> None:
    verdict = Verdict(qualified=False, reason="max_drop of 0 points binds: <none>", max_drop=0.0)
    page = report.render(results.model_copy(update={"verdict": verdict, "chosen": None, "artifact": None}))
    check_page(page)
    assert "No faster model kept the quality budget" in page.split("<main>")[1][:600]
    assert "Max_drop of 0 points binds: &lt;none&gt;." in page


def test_a_failed_last_attempt_shows_its_interval(results: Results) -> None:
    assert results.verdict is not None
    verdict = results.verdict.model_copy(update={"qualified": False, "drop_points": 1.7, "drop_high": 2.4})
    page = report.render(results.model_copy(update={"verdict": verdict, "chosen": None}))
    check_page(page)
    assert "✗ Not qualified." in page


def test_dense_only_and_empty_runs_render(results: Results) -> None:
    bare = {"chosen": None, "verdict": None, "trials": []}
    check_page(report.render(results.model_copy(update=bare)))
    check_page(
        report.render(results.model_copy(update={**bare, "dense": None, "history": [], "recipe": {}, "versions": {}}))
    )


def test_an_error_rate_that_rises_is_called_higher(results: Results) -> None:
    def as_wer(variant: Variant) -> Variant:
        return variant.model_copy(update={"metrics": {"wer": estimate(0.2)}})

    changed = {
        "metric": "wer",
        "higher_is_better": False,
        "dense": as_wer(results.dense) if results.dense else None,
        "chosen": as_wer(results.chosen) if results.chosen else None,
        "trials": [trial.model_copy(update={"variant": as_wer(trial.variant)}) for trial in results.trials],
    }
    run = results.model_copy(update=changed)
    assert report.headline(run) == "5.23 times faster, word error rate 0.4 points higher"
    check_page(report.render(run))


@pytest.mark.parametrize(
    ("drop", "words"),
    [(0.0, "unchanged"), (-0.001, "unchanged"), (-0.3, "0.3 points higher"), (0.25, "0.25 points lower")],
)
def test_the_headline_names_the_change(results: Results, drop: float, words: str) -> None:
    assert results.verdict is not None
    run = results.model_copy(update={"verdict": results.verdict.model_copy(update={"drop_points": drop})})
    assert report.headline(run).endswith(f"accuracy {words}")


def test_dense_stands_where_the_trials_say() -> None:
    # A trial of 0.80 that dropped 2 points was compared with a dense model of 0.82
    axis = charts.y_axis([0.80, 0.82])
    assert axis.place(0.82) < axis.place(0.80)


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [0.001, 1000.0], [-3.0, 5.0], [0.89, 0.8936]])
def test_ticks_lie_on_the_axis(values: list[float]) -> None:
    axis = charts.y_axis(values)
    assert 2 <= len(axis.ticks()) <= 8
    for tick in axis.ticks():
        assert charts.TOP <= tick.at <= charts.HEIGHT - charts.BOTTOM


def test_a_logarithmic_axis_has_round_ticks() -> None:
    axis = charts.x_axis([0.3, 40.0], log=True)
    assert [tick.text for tick in axis.ticks()] == ["0.5", "1", "2", "5", "10", "20", "50"]
    assert axis.place(0.3) < axis.place(4.0) < axis.place(40.0)


@pytest.mark.parametrize(("size", "words"), [(16_000_000, "5.68× smaller"), (181_740_000, "2× larger")])
def test_ratios_read_the_right_way_round(results: Results, size: int, words: str) -> None:
    assert results.chosen is not None
    assert words in report.render(
        results.model_copy(update={"chosen": results.chosen.model_copy(update={"size_bytes": size})})
    )
