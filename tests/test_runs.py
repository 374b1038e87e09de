"""What a run says of itself while it goes on, when it ends, and when it is killed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from bigray import runs
from bigray.errors import DataError, NothingQualified
from bigray.recipe import Recipe
from bigray.results import Results
from bigray.tasks.base import Metric

RECIPE = Recipe.model_validate({"name": "r", "task": "text_classification", "data": {"train": "x.csv"}})


def entry(epoch: int, loss: float = 0.5) -> dict[str, Any]:
    return {"epoch": epoch, "loss": loss, "accuracy": 0.5 + epoch / 10, "seconds": 1.0}


def story(listen: runs.Listen) -> None:
    listen({"stage": "train", "state": "start"})
    listen({"stage": "train", "epoch": 0, "epochs": 2, "step": 5, "steps": 10, "loss": 0.7, "entry": None})
    listen({"stage": "train", "epoch": 0, "epochs": 2, "step": 10, "steps": 10, "loss": 0.5, "entry": entry(0)})


def test_the_record_follows_the_events_and_passes_them_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "WRITE_S", 0.0)
    heard: list[Any] = []
    reader = runs.Runs(tmp_path)
    assert reader.read() == []
    (tmp_path / "r").mkdir()
    with runs.recording(tmp_path / "r", RECIPE, Metric("accuracy"), heard.append) as listen:
        assert [run.state for run in reader.read()] == ["running"]
        story(listen)
        (run,) = reader.read()
        assert (run.name, run.task, run.metric, run.stage) == ("r", "text_classification", "accuracy", "train")
        assert (run.epochs, run.share, run.history) == (2, 0.5, [entry(0)])
        listen({"stage": "train", "epoch": 0, "epochs": 2, "step": 10, "steps": 10, "loss": 0.5, "entry": entry(0)})
        listen({"stage": "train", "history": [entry(0), entry(1)]})
        listen({"stage": "search", "state": "start"})
        listen({"stage": "search", "done": 1, "total": 4, "trial": None})
        (run,) = reader.read()
        assert (run.stage, run.trials, run.share, len(run.history)) == ("search", 1, 0.25, 2)
    assert len(heard) == 7
    (run,) = reader.read()
    assert (run.state, run.outcome) == ("finished", None)


@pytest.mark.parametrize(
    ("error", "state", "outcome"),
    [
        (DataError("no column text"), "failed", "no column text"),
        (NothingQualified("all too slow"), "nothing_qualified", "all too slow"),
        (RuntimeError("secret detail"), "failed", "RuntimeError"),
        (KeyboardInterrupt(), "stopped", "KeyboardInterrupt"),
    ],
)
def test_how_it_ended(error: BaseException, state: str, outcome: str, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()

    def run_it() -> None:
        with runs.recording(tmp_path / "r", RECIPE, Metric("accuracy"), lambda event: None) as listen:
            story(listen)
            raise error

    with pytest.raises(type(error)):
        run_it()
    (run,) = runs.Runs(tmp_path).read()
    assert (run.state, run.outcome) == (state, outcome)
    assert run.history == [entry(0)]


def test_a_killed_run_is_lost_and_a_living_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "HEARTBEAT_S", 0.05)
    path = tmp_path / "r" / runs.FILE
    path.parent.mkdir()
    old = time.time() - 2 * runs.LOST_S
    with runs.recording(path.parent, RECIPE, Metric("accuracy"), lambda event: None):
        os.utime(path, (old, old))
        until = time.monotonic() + 10
        while path.stat().st_mtime == old and time.monotonic() < until:
            time.sleep(0.02)
        assert runs.Runs(tmp_path).read()[0].state == "running"
        alive = path.read_text()
    path.write_text(alive)
    os.utime(path, (old, old))
    assert runs.Runs(tmp_path).read()[0].state == "lost"


def test_results_tell_what_the_record_does_not(tmp_path: Path) -> None:
    results = Results(
        name="old", task="t", metric="wer", higher_is_better=False, max_drop=1, started="2026-01-01T00:00:00+00:00",
        history=[entry(0), entry(1, float("nan"))], seconds={"train": 3.0, "search": 4.0},
    )  # fmt: skip
    (tmp_path / "old").mkdir()
    results.save(tmp_path / "old" / runs.RESULTS)
    reader = runs.Runs(tmp_path)
    (run,) = reader.read()
    assert (run.state, run.seconds, run.higher_is_better, len(run.history)) == ("finished", 7.0, False, 2)
    (tmp_path / "old" / runs.FILE).write_text("{half")
    (tmp_path / "note.txt").write_text("no run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / runs.RESULTS).write_text("[]")
    assert [run.name for run in reader.read()] == ["old"]
    told = json.loads(run.model_dump_json())
    assert told["name"] == "old"


def test_newest_first_and_not_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MAX_RUNS", 3)
    for number in range(5):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        record = runs.Record(name=folder.name, task="t", metric="m", higher_is_better=True, state="finished")
        (folder / runs.FILE).write_text(record.model_dump_json())
        os.utime(folder / runs.FILE, (1000 + number, 1000 + number))
    assert [run.name for run in runs.Runs(tmp_path).read()] == ["run4", "run3", "run2"]
