"""A node dies in the middle of training: the group goes on elsewhere, from the last checkpoint."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train import node_loss_scenario as scenario

ROOT = Path(__file__).parents[2]


@pytest.mark.cluster
def test_every_epoch_is_trained_once_though_a_node_is_lost(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.node_loss_scenario", str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    happened = json.loads(done.stdout.splitlines()[-1])

    assert happened["killed"]["epoch"] >= 1
    assert happened["killed"]["step"] < happened["killed"]["steps"]
    assert happened["alive"] == 3  # of four
    history = happened["history"]
    assert [entry["epoch"] for entry in history] == list(range(scenario.EPOCHS))
    assert len({entry["rows"] for entry in history}) == 1  # the epoch that was cut short was trained whole
    assert all(math.isfinite(entry["loss"]) for entry in history)
    assert history[-1]["accuracy"] > 0.9
    assert "model.safetensors" in happened["checkpoint"]
