"""The report of a run: one HTML file that needs nothing else, for people to read and keep.

Everything in it comes from `bigray.results.Results`. It loads no script, font or image from anywhere; the charts are
inline SVG with a title per mark, and each has its numbers in a table below it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

from bigray import charts, front
from bigray.artifact import write_atomically
from bigray.results import Estimate, Latency, Results, Sample, Trial, Variant

METRIC_NAMES = {
    "map": "mAP",
    "map_50": "mAP at IoU 0.5",
    "wer": "word error rate",
    "cer": "character error rate",
    "mcd": "mel-cepstral distance (dB)",
    "mel_distance": "distance of spectrograms (dB)",
}


def write(results: Results, path: Path) -> None:
    """Write the report as one self-contained HTML file."""
    write_atomically(path, render(results, path.parent))


def render(results: Results, folder: Path | None = None) -> str:
    """Return the report as HTML; samples are read from ``folder`` and become part of it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "ms": _ms,
        "megabytes": _megabytes,
        "estimate": _estimate,
        "duration": _duration,
        "ratio": _ratio,
        "points": _points,
        "metric_name": metric_name,
        "words": _words,
        "sentence": lambda text: text[:1].upper() + text[1:] + ("" if text.endswith(".") else "."),
    }
    history = [{**row, "epoch": row["epoch"] + 1} for row in results.history]  # people count epochs from 1
    results = results.model_copy(update={"history": history})
    return environment.get_template("report.html.jinja").render(
        results=results,
        headline=headline(results),
        curves=_curves(results),
        front=_front(results),
        interval=_interval(results),
        speeds=_speeds(results),
        contributions=_contributions(results),
        core_hours=sum(trial.seconds * trial.cores for trial in results.trials) / 3600,
        gpu_hours=sum(trial.seconds * trial.gpus for trial in results.trials) / 3600,
        metrics=_metric_names(results),
        samples=[] if folder is None else [_heard(sample, folder) for sample in results.samples],
        recipe=yaml.safe_dump(results.recipe, sort_keys=False, allow_unicode=True) if results.recipe else "",
        canvas={key: getattr(charts, key.upper()) for key in ("width", "height", "left", "right", "top", "bottom")},
    )


def headline(results: Results) -> str:
    """Say in one sentence what came out."""
    verdict = results.verdict
    if verdict is None:
        return "The dense model was trained; no faster one was looked for."
    if not verdict.qualified and not verdict.forced:
        return "No faster model kept the quality budget, so nothing was handed out in place of the dense one."
    # A drop within rounding of zero reads "0", never "-0"
    drop = round(verdict.drop_points or 0.0, 2) + 0.0
    change = f"{drop:g} points lower" if drop > 0 else f"{-drop:g} points higher" if drop < 0 else "unchanged"
    if verdict.forced:
        change += ", handed out because the recipe forced it"
    return f"{_number(verdict.speedup)} times faster, {metric_name(results.metric)} {_direction(change, results)}"


def _heard(sample: Sample, folder: Path) -> dict[str, str]:
    files = {"answer": sample.file, "truth": sample.truth}
    heard = {name: base64.b64encode((folder / file).read_bytes()).decode() for name, file in files.items()}
    return {"input": sample.input, **{name: f"data:{sample.media_type};base64,{data}" for name, data in heard.items()}}


def metric_name(name: str) -> str:
    """Return the metric's name as people write it."""
    return METRIC_NAMES.get(name, name.replace("_", " "))


def _direction(change: str, results: Results) -> str:
    if results.higher_is_better:
        return change
    # A drop is a loss of quality: for an error rate that is a rise
    return change.replace("lower", "HIGHER").replace("higher", "lower").replace("HIGHER", "higher")


def _curves(results: Results) -> list[charts.Chart]:
    found = []
    for name, key in (("Training", "loss"), ("Validation", results.metric)):
        points = [(float(row["epoch"]), float(row[key])) for row in results.history if _is_number(row.get(key))]
        if points:
            found.append(charts.curve(name, metric_name(key), points))
    return found


def _front(results: Results) -> charts.Chart | None:
    """Draw quality over latency, both as the search measured them: on validation rows."""
    drawn = [trial for trial in results.trials if trial.status == "ok" and front.placed(trial, results.metric)]
    if not drawn:
        return None
    dense = _dense_point(results, drawn[0])
    places = [(_p95(trial.variant), _value(trial.variant, results.metric)) for trial in drawn]
    everything = [*places, *([dense] if dense else [])]
    floor = None if dense is None else dense[1] - (1 if results.higher_is_better else -1) * results.max_drop / 100
    xs = [x for x, _ in everything]
    across = charts.x_axis(xs, log=charts.spans_a_decade(xs))
    up = charts.y_axis([y for _, y in everything] + ([floor] if floor is not None else []))
    sizes = [trial.variant.size_bytes for trial in drawn] + ([results.dense.size_bytes] if results.dense else [])
    marks = [_mark(trial, place, across, up, max(sizes), results) for trial, place in zip(drawn, places, strict=True)]
    marks.sort(key=lambda mark: mark.kind.startswith("chosen"))  # drawn last, so that nothing covers it
    if dense is not None and results.dense is not None:
        title = (
            f"dense, {results.dense.engine}: {dense[1]:.4g}, {_ms(dense[0])}, {_megabytes(results.dense.size_bytes)}"
        )
        at, size = across.place(dense[0]), charts.radius(results.dense.size_bytes, max(sizes))
        marks.append(charts.Mark(at, up.place(dense[1]), title, "dense", size, "dense", at > 0.75 * charts.WIDTH))
    best = _unbeaten(places, results.higher_is_better)
    return charts.Chart(
        name="Quality against latency",
        summary=f"{len(drawn)} finished candidates of {len(results.trials)}; {len(best)} of them are beaten by none in both.",
        x_title="p95 latency in ms" + (" (logarithmic)" if across.log else ""),
        y_title=metric_name(results.metric) + " on validation rows",
        x_ticks=across.ticks(),
        y_ticks=up.ticks(),
        marks=marks,
        line=" ".join(f"{across.place(x)},{up.place(y)}" for x, y in best),
        floor=None if floor is None else charts.Tick(up.place(floor), f"budget, points lost: {results.max_drop:g}"),
    )


def _unbeaten(places: Sequence[tuple[float, float]], higher_is_better: bool) -> list[tuple[float, float]]:
    """Return the places that no other beats in latency and quality, the two that the chart shows, fastest first."""
    found: list[tuple[float, float]] = []
    for x, y in sorted(places, key=lambda place: (place[0], -place[1] if higher_is_better else place[1])):
        if not found or (y > found[-1][1] if higher_is_better else y < found[-1][1]):
            found.append((x, y))
    return found


def _mark(
    trial: Trial, place: tuple[float, float], across: charts.Axis, up: charts.Axis, largest: int, results: Results
) -> charts.Mark:
    variant = trial.variant
    title = f"#{trial.number} {variant.label}: {place[1]:.4g}, {_ms(place[0])}, {_megabytes(variant.size_bytes)}"
    at = across.place(place[0])
    return charts.Mark(
        x=at,
        y=up.place(place[1]),
        title=title,
        kind=_kind(trial),
        radius=charts.radius(variant.size_bytes, largest),
        label="chosen" if trial.chosen else "",
        label_left=at > 0.75 * charts.WIDTH,
    )


def _kind(trial: Trial) -> str:
    """Return a mark's classes: what became of the candidate, and whether it is a recipe of one step or none."""
    kind = "chosen" if trial.chosen else "front" if trial.on_front else "candidate"
    return kind if len(trial.variant.steps) > 1 else f"{kind} single"


def _contributions(results: Results) -> list[tuple[str, Trial | None]]:
    """Return what is known of the chosen plan with fewer steps: the engine alone, each step alone, the first steps."""
    winner = next((trial for trial in results.trials if trial.chosen), None)
    if winner is None or not winner.variant.steps:
        return []
    steps, engine = winner.variant.steps, winner.variant.engine
    parts = [(), *((step,) for step in steps), *(steps[:count] for count in range(2, len(steps)))]
    parts += [steps] if len(steps) > 1 else []
    known = [winner, *(trial for trial in results.trials if trial.status == "ok" and trial.variant.engine == engine)]
    return [
        (
            Variant(engine=engine, steps=part).label,
            next((trial for trial in known if trial.variant.steps == part), None),
        )
        for part in parts
    ]


def _dense_point(results: Results, trial: Trial) -> tuple[float, float] | None:
    """Place the dense model by what trials know: their drop against it on the same rows."""
    if results.dense is None or not results.dense.latency:
        return None
    quality = front.dense_quality(results, trial)
    return None if quality is None else (_p95(results.dense), quality)


def _interval(results: Results) -> dict[str, Any] | None:
    """Place the verified drop, its interval and the budget on one line."""
    verdict = results.verdict
    if verdict is None or verdict.drop_points is None:
        return None
    low = verdict.drop_points if verdict.drop_low is None else verdict.drop_low
    high = verdict.drop_points if verdict.drop_high is None else verdict.drop_high
    axis = charts.x_axis([low, high, 0.0, verdict.max_drop])
    places = {"low": low, "high": high, "value": verdict.drop_points, "zero": 0.0, "budget": verdict.max_drop}
    return {"ticks": axis.ticks(), **{name: axis.place(value) for name, value in places.items()}}


def _speeds(results: Results) -> list[tuple[Latency, Latency | None]]:
    """Pair dense and chosen by batch size."""
    if results.dense is None:
        return []
    chosen = {latency.batch_size: latency for latency in (results.chosen.latency if results.chosen else [])}
    return [(latency, chosen.get(latency.batch_size)) for latency in results.dense.latency]


def _metric_names(results: Results) -> list[str]:
    found = [name for variant in (results.dense, results.chosen) if variant for name in variant.metrics]
    rest = sorted(set(found) - {results.metric})
    return [results.metric, *rest] if found else []


def _p95(variant: Variant) -> float:
    return variant.latency[0].p95_ms


def _value(variant: Variant, metric: str) -> float:
    return variant.metrics[metric].value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _ratio(value: float | None, better: str, worse: str) -> str:
    """Say a ratio the way round that makes it at least 1."""
    if not value:
        return "–"
    return f"{_number(value)}× {better}" if value >= 1 else f"{_number(1 / value)}× {worse}"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{_number(value)} ms"


def _megabytes(value: int) -> str:
    if value >= 1e9:
        return f"{_number(value / 1e9)} GB"
    return f"{_number(value / 1e6)} MB" if value >= 1e5 else f"{_number(value / 1e3)} kB"


def _estimate(value: Estimate | None) -> str:
    return "–" if value is None else f"{value.value:.4f} [{value.low:.4f}, {value.high:.4f}]"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 2) + 0.0:.2f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _words(value: Any) -> str:
    """Write a nested value of hardware or versions on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(part)}" for key, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_words(part) for part in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
