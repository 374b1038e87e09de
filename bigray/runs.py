"""What runs say of themselves: each keeps ``progress.json`` in its folder while it goes on; anybody may read along.

A run that was killed cannot say so. It touches its file every few seconds instead, and a file that claims to be running
and is old is reported as ``lost``.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bigray.artifact import now, write_atomically
from bigray.errors import BigrayError, NothingQualified
from bigray.polling import polling
from bigray.recipe import Recipe
from bigray.results import Results
from bigray.tasks.base import Metric

FILE, RESULTS = "progress.json", "results.json"
HEARTBEAT_S, LOST_S = 5.0, 30.0
"""How often a run says that it lives, and after how long a silence it does not."""
WRITE_S = 1.0
MAX_RUNS = 100
"""Runs listed, newest first."""
_MAX_BYTES = 32 * 2**20

Event = Mapping[str, Any]
Listen = Callable[[dict[str, Any]], None]
State = Literal["running", "finished", "nothing_qualified", "failed", "stopped", "lost"]


class Record(BaseModel):
    """How far a run is. Times are UTC, ISO 8601; epochs count from 0 as in the results."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    name: str
    task: str
    metric: str
    higher_is_better: bool
    state: State = "running"
    stage: str = ""
    started: str = ""
    updated: str = ""
    seconds: float = 0.0
    """Wall time so far, or in all."""
    epochs: int | None = None
    """Epochs to train."""
    share: float | None = None
    """How much of the stage is done, 0 to 1, where that is known."""
    history: list[dict[str, Any]] = []
    """One entry per epoch: epoch, loss, seconds and the validation metrics."""
    trials: int | None = None
    """Candidates finished."""
    outcome: str | None = None
    """How it ended, in a sentence."""
    chosen: str | None = None
    """Label of the model that was handed out."""
    speedup: float | None = None
    drop_points: float | None = None


@contextmanager
def recording(folder: Path, recipe: Recipe, primary: Metric, listen: Listen) -> Iterator[Listen]:
    """Keep the record of a run while the block runs; listen through what is yielded, and all is passed on."""
    record = Record(
        name=recipe.name,
        task=recipe.task,
        metric=primary.name,
        higher_is_better=primary.higher_is_better,
        started=now(),
    )
    recorder = _Recorder(folder / FILE, record, listen)
    recorder.write()
    with polling(recorder.touch, HEARTBEAT_S):
        try:
            yield recorder
        except BaseException as error:
            recorder.end(_state_after(error), error.detail if isinstance(error, BigrayError) else type(error).__name__)
            raise
        recorder.end("finished", None)


class _Recorder:
    def __init__(self, path: Path, record: Record, listen: Listen) -> None:
        self._path, self._record, self._listen = path, record, listen
        self._lock = threading.Lock()  # training reports from a thread of its own
        self._began, self._written = time.monotonic(), -math.inf

    def __call__(self, event: dict[str, Any]) -> None:
        with self._lock:
            at_once = self._take(event)
        if at_once or time.monotonic() - self._written >= WRITE_S:
            self.write()
        self._listen(event)

    def _take(self, event: Event) -> bool:
        """Note an event; say whether it must be written at once."""
        record = self._record
        if event.get("state") == "start":
            record.stage, record.share = event["stage"], None
            return True
        if "history" in event:
            record.history = list(event["history"])
            return True
        if "step" in event:
            whole = max(1, event["epochs"] * event["steps"])
            record.epochs = event["epochs"]
            record.share = min(1.0, (event["epoch"] * event["steps"] + event["step"]) / whole)
            if (entry := event.get("entry")) and entry not in record.history:
                record.history = [*record.history, dict(entry)]
                return True
        elif "cost" in event:
            record.share = event["done"] / max(1, event["total"])
        elif "trial" in event and event["stage"] == "search":
            record.trials, record.share = event["done"], event["done"] / max(1, event["total"])
        return False

    def write(self) -> None:
        with self._lock:
            self._written = time.monotonic()
            self._record.updated, self._record.seconds = now(), round(self._written - self._began, 1)
            with suppress(OSError):  # a full disk must not end a run that needs no more room
                write_atomically(self._path, self._record.model_dump_json())

    def touch(self) -> None:
        with suppress(OSError):
            os.utime(self._path)

    def end(self, state: State, outcome: str | None) -> None:
        self._record.state, self._record.outcome = state, outcome and outcome[:500]
        self.write()


def _state_after(error: BaseException) -> State:
    if isinstance(error, NothingQualified):
        return "nothing_qualified"
    return "failed" if isinstance(error, Exception) else "stopped"


class Runs:
    """Reads a folder of runs, again and again; what did not change is not parsed twice."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[int, Record | None]] = {}

    def read(self) -> list[Record]:
        """Return the runs, newest first; none when there is no such folder."""
        found: list[tuple[float, Record]] = []
        for path in self._newest():
            record = self._record(path)
            with suppress(OSError):
                age_s = time.time() - (path / FILE).stat().st_mtime if (path / FILE).exists() else 0.0
                if record is not None:
                    lost = record.state == "running" and age_s > LOST_S
                    found.append((_changed(path), record.model_copy(update={"state": "lost"} if lost else {})))
        return [record for _, record in sorted(found, key=lambda pair: -pair[0])]

    def _newest(self) -> list[Path]:
        try:
            folders = [path for path in self._folder.iterdir() if path.is_dir()]
        except OSError:
            return []
        return sorted(folders, key=_changed, reverse=True)[:MAX_RUNS]

    def _record(self, folder: Path) -> Record | None:
        told = _parsed(folder / FILE, self._known, Record.model_validate_json)
        if told is not None and told.state == "running":
            return told
        ended = _parsed(folder / RESULTS, self._known, _of_results)
        if ended is None or told is None:
            return told or ended
        if told.state != "finished":  # a later run of the same name, which did not get as far
            return told
        return ended.model_copy(update={"updated": told.updated, "seconds": told.seconds, "epochs": told.epochs})


def _of_results(raw: bytes) -> Record:
    results = Results.model_validate_json(raw)
    verdict = results.verdict
    qualified = verdict is None or verdict.qualified or verdict.forced
    return Record(
        name=results.name,
        task=results.task,
        metric=results.metric,
        higher_is_better=results.higher_is_better,
        state="finished" if qualified else "nothing_qualified",
        started=results.started,
        updated=results.started,
        seconds=sum(results.seconds.values()),
        history=results.history,
        trials=len(results.trials) or None,
        outcome=verdict.reason if verdict else None,
        chosen=results.chosen.label if results.chosen else None,
        speedup=verdict.speedup if verdict else None,
        drop_points=verdict.drop_points if verdict else None,
    )


def _parsed(
    path: Path, known: dict[Path, tuple[int, Record | None]], parse: Callable[[bytes], Record]
) -> Record | None:
    try:
        stat = path.stat()
        if path not in known or known[path][0] != stat.st_mtime_ns:
            known[path] = (stat.st_mtime_ns, parse(path.read_bytes()) if stat.st_size <= _MAX_BYTES else None)
        return known[path][1]
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):  # half copied, or of another version: the run is not listed
        known[path] = (stat.st_mtime_ns, None)
        return None


def _changed(folder: Path) -> float:
    times = [0.0]
    for name in (FILE, RESULTS):
        with suppress(OSError):
            times.append((folder / name).stat().st_mtime)
    return max(times)
