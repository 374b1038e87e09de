"""Trains on four raylets and kills one that holds a worker in the middle of an epoch; prints one JSON line.

Run in a process of its own (``python -m tests.train.node_loss_scenario FOLDER``): it needs its own cluster. Each worker
wants more than the head has and more than half of a node, so the two workers stand on two of the three other nodes.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster
from ray.data import DataContext

from bigray.data import sources
from bigray.recipe import Recipe, parse
from bigray.tasks.text_classification import TextClassification
from bigray.train import trainer

EPOCHS = 3
ROWS = 3000
NODE_CPUS, WORKER_CPUS = 2, 1.5
NODE = {"object_store_memory": 100 * 2**20, "include_dashboard": False}


def recipe(folder: Path) -> Recipe:
    """Texts whose label is told by one word; small batches make an epoch last some seconds."""
    choose = random.Random(0)
    words = ["alpha", "beta", "gamma", "delta", "kappa", "omega"]
    rows = ["text,label"]
    for _ in range(ROWS):
        label = choose.choice(["good", "bad"])
        rows.append(" ".join([*choose.choices(words, k=6), label]) + f",{label}")
    (folder / "rows.csv").write_text("\n".join(rows) + "\n")
    text = f"""
        name: node-loss
        task: text_classification
        data: {{train: rows.csv, validation: 0.05, test: 0.05}}
        model: {{name: ffnn}}
        train: {{epochs: {EPOCHS}, batch_size: 4, workers: 2, cpus_per_worker: {WORKER_CPUS}, max_failures: 2}}
    """
    return parse(text, base=folder)


class Killer:
    """Listens to training; after the first epoch it kills the node of a worker, once, as a power cut would."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.killed: dict[str, Any] | None = None
        self._lock = threading.Lock()

    def __call__(self, state: dict[str, Any]) -> None:
        with self._lock:
            if self.killed or state["epoch"] < 1 or state["entry"] is not None:
                return
            free = ray._private.state.available_resources_per_node()
            for node in self._cluster.worker_nodes:
                if free.get(node.node_id, {}).get("CPU", 0) < WORKER_CPUS:
                    self.killed = {"epoch": state["epoch"], "step": state["step"], "steps": state["steps"]}
                    self._cluster.remove_node(node, allow_graceful=False)
                    return


def run(folder: Path) -> dict[str, Any]:
    """Train with one node lost; return what happened."""
    wanted = recipe(folder)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **NODE})
    try:
        for _ in range(3):
            cluster.add_node(wait=False, num_cpus=NODE_CPUS, **NODE)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        DataContext.get_current().enable_progress_bars = False
        splits = sources.load(wanted.data, TextClassification, wanted.seed)
        task = TextClassification.prepare(wanted.data, wanted.model, splits.sample)
        killer = Killer(cluster)
        begun = time.monotonic()
        trained = trainer.fit(wanted, task, task.architecture(wanted.model), splits, folder / "train", killer)
        return {
            "seconds": time.monotonic() - begun,
            "killed": killer.killed,
            "alive": sum(node["Alive"] for node in ray.nodes()),
            "history": trained.history,
            "checkpoint": sorted(path.name for path in trained.checkpoint.iterdir()),
        }
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="n", dir="/tmp") as place:
        print(json.dumps(run(Path(sys.argv[1] if len(sys.argv) > 1 else place))))
