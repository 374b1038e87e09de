"""What the endpoint measures share: one text classifier, dense and compressed by bigray itself, and services of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measures.training import RECIPES
from benchmarks.served import free_port
from bigray import pipeline
from bigray import recipe as recipes
from bigray.artifact import Artifact
from bigray.cluster import cluster
from bigray.progress import Display

ROOT = Path(__file__).parent.parent.parent
MODEL = "texts"
START_S = 600.0


def artifacts(data: Path | None, work: Path) -> tuple[Path, Path]:
    """Return the dense and the compressed artifact of MiniLM, fine-tuned for some minutes on SST-2; made once in ``work``."""
    assert data is not None
    folder = data / "text_classification" / "sst2"
    recipe = recipes.read(
        RECIPES / "agreement.yaml",
        [f"output={work}", f"data.train={folder / 'train.tsv'}", f"data.test={folder / 'dev.tsv'}"],
    )
    place = work / recipe.name
    if not (place / "artifact" / "bigray.json").is_file():
        with cluster(), Display() as display:
            pipeline.run(recipe, display)
    return next(place.glob("train-*/dense")), place / "artifact"


def bodies(data: Path | None, work: Path) -> Path:
    """Return a file of JSON lines, one request each: the sentences of SST-2's dev file."""
    assert data is not None
    path = work / "sentences.jsonl"
    rows = (data / "text_classification" / "sst2" / "dev.tsv").read_text(encoding="utf-8").splitlines()
    path.write_text("".join(json.dumps({"inputs": row.split("\t")[0]}) + "\n" for row in rows), encoding="utf-8")
    return path


def transformers_folder(dense: Path, work: Path) -> Path:
    """Write a dense artifact's network and tokenizer as ``transformers.pipeline`` reads them."""
    from transformers import PreTrainedTokenizerFast

    from bigray.models import _weights
    from bigray.models.base import build

    network = build(Artifact.open(dense).manifest.architecture, pretrained=False)
    _weights.load(network, dense / "model")
    folder = work / "transformers"
    network.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(dense / "task" / "tokenizer.json"), pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
    )
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def program(module: str, path: str, *arguments: str | Path) -> Iterator[str]:
    """Run ``python -m module PORT arguments``; yield the address of ``path`` on it once it answers a text."""
    port = free_port()
    words = [sys.executable, "-m", module, str(port), *map(str, arguments)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}{path}"
        _wait(url, process)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with suppress(
            ProcessLookupError
        ):  # LitServe leaves processes behind, busy ones, that would spoil what comes next
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def served(artifact: Path, *, haproxy: bool = True) -> Iterator[str]:
    """Serve one artifact by `bigray up` with one replica; yield the model's address."""
    words = [] if haproxy else ["--no-haproxy"]
    with program("benchmarks.service", f"/models/{MODEL}", f"{MODEL}={artifact}", *words) as url:
        yield url


def process_of(url: str) -> dict[str, Any]:
    """Return what a replica says of its process."""
    found: dict[str, Any] = httpx.get(url, timeout=30).json()["process"]
    return found


def median(values: Sequence[float]) -> float:
    """Return the middle value, the upper one of two."""
    return sorted(values)[len(values) // 2]


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            if httpx.post(url, json={"inputs": "a fine film"}, timeout=10).status_code == 200:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        if time.monotonic() > until:
            raise RuntimeError(f"{process.args} did not answer within {START_S:.0f} s")
        time.sleep(0.2)
