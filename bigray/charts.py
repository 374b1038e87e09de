"""The geometry of the report's charts: numbers in, positions on an SVG canvas out. The template only draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 340
"""Units of the SVG canvas; the page scales it."""
HALF_WIDTH, HALF_HEIGHT = 460, 270
"""The same for charts that stand two in a row, so that their text is not smaller."""
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 20, 48
"""Room for ticks and titles, in the same units."""


@dataclass(frozen=True)
class Tick:
    """A place on an axis with its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """Maps values to canvas positions; ``log`` where the values span more than a decade."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """Return the canvas position of a value, to a tenth of a unit."""
        low, high, at = (_log(self.low), _log(self.high), _log(value)) if self.log else (self.low, self.high, value)
        return round(self.start + (at - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self) -> list[Tick]:
        """Return round values with their places."""
        values = _round_log(self.low, self.high) if self.log else _round_linear(self.low, self.high)
        return [Tick(self.place(value), f"{value:.6g}") for value in values]


@dataclass(frozen=True)
class Mark:
    """One point of a chart."""

    x: float
    y: float
    title: str
    """What a pointer sees, and a screen reader reads."""
    kind: str = "candidate"
    """CSS class: candidate, front, dense or chosen."""
    radius: float = 4.5
    label: str = ""
    label_left: bool = False
    """Whether the label stands left of the mark, for lack of room on the right."""


@dataclass(frozen=True)
class Chart:
    """Everything the template draws."""

    name: str
    summary: str
    """One sentence for those who cannot see it."""
    x_title: str
    y_title: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[Mark]
    line: str = ""
    """Points of a polyline, in SVG's notation."""
    floor: Tick | None = None
    """A horizontal limit with its text."""
    width: int = WIDTH
    height: int = HEIGHT


def x_axis(values: Sequence[float], *, log: bool = False, width: int = WIDTH) -> Axis:
    """Return a horizontal axis around the values."""
    low, high = _padded(values, log)
    return Axis(low, high, LEFT, width - RIGHT, log)


def y_axis(values: Sequence[float], *, height: int = HEIGHT) -> Axis:
    """Return a vertical axis around the values; SVG counts downwards."""
    low, high = _padded(values, False)
    return Axis(low, high, height - BOTTOM, TOP)


def curve(name: str, metric: str, points: Sequence[tuple[float, float]]) -> Chart:
    """Draw one quantity over epochs."""
    across = x_axis([x for x, _ in points], width=HALF_WIDTH)
    up = y_axis([y for _, y in points], height=HALF_HEIGHT)
    marks = [Mark(across.place(x), up.place(y), f"epoch {x:g}: {metric} {y:.4g}", "series") for x, y in points]
    last = points[-1]
    whole = [tick for tick in across.ticks() if "." not in tick.text]  # there is no half epoch
    return Chart(
        name=name,
        summary=f"{metric} after each epoch, {points[0][1]:.4g} at first and {last[1]:.4g} at the end.",
        x_title="epoch",
        y_title=metric,
        x_ticks=whole,
        y_ticks=up.ticks(),
        marks=marks,
        line=" ".join(f"{mark.x},{mark.y}" for mark in marks),
        width=HALF_WIDTH,
        height=HALF_HEIGHT,
    )


def spans_a_decade(values: Sequence[float]) -> bool:
    """Say whether a logarithmic axis serves these (positive) values better."""
    return min(values) > 0 and max(values) / min(values) > 8


def radius(size: float, largest: float) -> float:
    """Return a radius whose circle's area goes with the size, between 5 and 16 units."""
    return round(max(5.0, 16.0 * math.sqrt(size / largest)), 1) if largest > 0 else 5.0


def _padded(values: Sequence[float], log: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if log:
        return low / 1.4, high * 1.6
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _log(value: float) -> float:
    return math.log10(value)


def _round_linear(low: float, high: float) -> list[float]:
    raw = (high - low) / 5
    magnitude = 10 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _round_log(low: float, high: float) -> list[float]:
    decades = range(math.floor(_log(low)), math.ceil(_log(high)) + 1)
    values = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
    return [value for value in values if low <= value <= high]
