"""What is shown of a run where there is no terminal."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from bigray import progress
from bigray.progress import Display


def shown(monkeypatch: pytest.MonkeyPatch, silent_s: float, pause_s: float = 0.0) -> list[str]:
    monkeypatch.setattr(progress, "SILENT_S", silent_s)
    out = io.StringIO()
    with Display(Console(file=out, soft_wrap=True, highlight=False)) as display:
        display({"stage": "train", "state": "start"})
        for step in range(4):
            time.sleep(pause_s)
            display({"stage": "train", "epoch": 0, "epochs": 2, "step": step, "steps": 4})
        display({"stage": "train", "state": "end", "seconds": 1.0})
    return [line.partition("] ")[2] for line in out.getvalue().splitlines()]


def test_a_long_epoch_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, silent_s=0.0, pause_s=0.01)
    assert lines[0] == "train ..."
    assert [line.partition(",")[0] for line in lines[1:5]] == [f"training {step} of 8" for step in range(4)]
    assert lines[4].endswith("min left")
    assert lines[5] == "train done in 1 s"


def test_short_stages_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, silent_s=30.0) == ["train ...", "train done in 1 s"]
