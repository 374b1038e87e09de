"""Shows how far a run is: bars with the time left on a terminal, plain lines elsewhere (a log, a job, CI)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

QUIET_STAGES = {"cluster", "read rows", "look at the network", "artifact", "data"}
"""Stages too short for a line of their own when they end."""
SILENT_S = 30.0
"""Where there is no terminal for a bar, a line tells how far things are after this many seconds without any."""


class Display:
    """Listens to the events of `bigray.pipeline.run`. Use as a context manager around the run."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, soft_wrap=True, highlight=False)
        self._started = time.monotonic()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._bar: Any = None
        self._spoke = self._started

    def __enter__(self) -> Display:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bars.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show one event."""
        stage = event["stage"]
        if event.get("state") == "start" and stage not in QUIET_STAGES:
            self._line(f"{stage} ...")
        elif event.get("state") == "end" and stage not in QUIET_STAGES:
            self._drop_bar()
            self._line(f"{stage} done in {event['seconds']:.0f} s")
        elif event.get("dashboard"):
            self._line(f"Ray: {event['dashboard']}")
        elif "left_out" in event:
            self._line(f"not searched: {event['left_out']}")
        elif "step" in event:
            self._training(event)
        elif "cost" in event:
            self._layer(event)
        elif "trial" in event and stage == "search":
            self._trial(event)
        elif "verdict" in event:
            self._line(f"verified: {event['trial'].variant.label} {event['verdict'].reason}")

    def _training(self, event: Mapping[str, Any]) -> None:
        total = event["epochs"] * event["steps"]
        self._move("training", event["epoch"] * event["steps"] + event["step"], total)
        entry = event.get("entry")
        if entry:
            numbers = {k: v for k, v in entry.items() if k not in {"epoch", "rows", "learning_rate", "seconds"}}
            text = ", ".join(f"{name} {value:.4f}" for name, value in numbers.items())
            self._line(f"epoch {entry['epoch'] + 1} of {event['epochs']}: {text} ({entry['seconds']:.0f} s)")

    def _layer(self, event: Mapping[str, Any]) -> None:
        self._move("sensitivity", event["done"], event["total"])
        cost = event["cost"]
        if cost is None:
            return  # nothing can be taken from it
        text = f"{cost['drop_points']:.2f} points for {cost['saved_ms'] / cost['whole_ms']:.0%} of the time"
        self._line(f"layers {event['done']} of {event['total']}: {cost['layer']}: {text}")

    def _trial(self, event: Mapping[str, Any]) -> None:
        self._move("search", event["done"], event["total"])
        trial = event["trial"]
        if trial.status == "ok":
            text = f"drop {trial.drop_points:.2f} points, {trial.variant.speedup:.1f}x faster"
        else:
            text = f"{trial.status}: {trial.reason}"
        self._line(f"trial {event['done']} of {event['total']}: {trial.variant.label}: {text} ({trial.seconds:.0f} s)")

    def _move(self, name: str, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = self._bars.add_task(name, total=total)
        self._bars.update(self._bar, completed=done, total=total, description=name)
        if not self._console.is_terminal and time.monotonic() - self._spoke >= SILENT_S:
            left_s = next(task.time_remaining for task in self._bars.tasks if task.id == self._bar)
            self._line(
                f"{name} {done} of {total}" + (f", about {max(1, round(left_s / 60))} min left" if left_s else "")
            )

    def _drop_bar(self) -> None:
        if self._bar is not None:
            self._bars.remove_task(self._bar)
            self._bar = None

    def _line(self, text: str) -> None:
        self._spoke = time.monotonic()
        self._console.print(f"[{time.monotonic() - self._started:6.1f} s] {text}", markup=False)
