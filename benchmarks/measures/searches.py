"""What the measures of the search itself share: a small recipe, run in a process of its own, and what it left on disk.

Digits, eight candidates, each with a short recovery. Eight are as many as are proposed without regard to outcomes: later
ones follow measured times, which no machine repeats.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bigray.results import Trial

TRIALS = 8
RECIPE = "image_classification.tiny"
NAME = "digits-tiny"
OVERRIDES = (
    f"compress.trials={TRIALS}",
    "compress.max_drop=20",
    "compress.sensitivity_rows=0",
    "compress.recover_epochs=4",
    "compress.methods=[{name: prune_structured, knobs: {ratio: [0.2, 0.6]}}, quantize_static]",
)
START = "from bigray.cli import start; raise SystemExit(start())"


def train(work: Path, *more: str) -> Path:
    """Train the dense model once; return the folder of its run."""
    folder = work / "trained"
    if not list(folder.glob(f"{NAME}/train-*/dense/bigray.json")) and start("train", folder, *more).wait() != 0:
        raise RuntimeError("The dense model could not be trained.")
    return folder / NAME


def start(verb: str, output: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start ``bigray run`` or ``train`` in a process of its own."""
    sets = [part for one in (f"output={output}", *OVERRIDES, *more) for part in ("--set", one)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen([sys.executable, "-c", START, verb, RECIPE, *sets], env=environment, stdout=sys.stderr)


def fresh(trained: Path, output: Path) -> Path:
    """Return a new folder for a run that begins with the trained model."""
    shutil.rmtree(output, ignore_errors=True)
    (output / NAME).mkdir(parents=True)
    for folder in trained.glob("train-*"):
        shutil.copytree(folder, output / NAME / folder.name)
    return output


def outcomes(output: Path) -> dict[str, Trial]:
    """Return plan's key -> outcome of every candidate that ended."""
    files = (output / NAME).glob("search-*/*/trial.json")
    return {file.parent.name: Trial.model_validate_json(file.read_text(encoding="utf-8")) for file in files}


def written(output: Path) -> dict[str, int]:
    """Return plan's key -> when its outcome was written, in ns."""
    return {file.parent.name: file.stat().st_mtime_ns for file in (output / NAME).glob("search-*/*/trial.json")}


def proposals(output: Path) -> tuple[int, int]:
    """Return how many candidates were proposed and how many outcomes were told, over all the search's lives."""
    ledger = next((output / NAME).glob("search-*/ledger.jsonl")).read_text(encoding="utf-8")
    lines = [json.loads(line) for line in ledger.splitlines()]
    return sum("proposal" in line for line in lines), sum("outcome" in line for line in lines)
