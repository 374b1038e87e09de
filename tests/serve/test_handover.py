"""Canaries behind Serve's real proxy: a losing one is rolled back, a good one takes over, and no request is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import SETTINGS

from bigray import artifact
from bigray.cli import main
from bigray.errors import InvalidInput, NotFound
from bigray.serve import handover
from bigray.serve.rollout import Policy

pytestmark = pytest.mark.cluster

POLICY = Policy(min_requests=20, min_pairs=10, slowdown=20.0)
"""The machine that runs tests does other things; slowness is not what is asked here."""
TEXTS = ("a good film", "a bad film", "neither here nor there", "fine and bright", "dull and poor")


def variant(original: Path, folder: Path, *, labels: str = "abc") -> Path:
    """Copy an artifact under another manifest, with the labels in another order: the same network, other answers."""
    opened = artifact.Artifact.open(original)
    with artifact.create(folder) as draft:
        for part, source in ((draft.task_dir, opened.task_dir), (draft.model_dir, opened.model_dir)):
            for file in source.iterdir():
                (part / file.name).write_bytes(file.read_bytes())
        state = draft.task_dir / "task.json"
        state.write_text(state.read_text().replace('"a",', f'"{labels[0]}",').replace('"b",', f'"{labels[1]}",'))
        draft.commit(opened.manifest.model_copy(update={"name": folder.name, "recipe": {"serve": SETTINGS}}))
    return folder


@pytest.fixture
def statuses(service: str) -> Iterator[list[int | str]]:
    """Statuses of requests that are sent all the time."""
    found: list[int | str] = []
    stop = threading.Event()

    def load() -> None:
        with httpx.Client(base_url=service, timeout=30) as http:
            while not stop.is_set():
                for text in TEXTS:
                    try:
                        found.append(http.post("/models/texts", json={"inputs": text}).status_code)
                    except httpx.HTTPError as error:
                        found.append(repr(error))
                    stop.wait(0.01)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield found
    stop.set()
    for thread in threads:
        thread.join()


def until(done: Callable[[], Any], limit_s: float = 60) -> None:
    end = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_losing_canary_goes_and_a_good_one_stays(
    service: str, text_artifact: Path, tmp_path: Path, statuses: list[int | str], capsys: pytest.CaptureFixture[str]
) -> None:
    losing = variant(text_artifact, tmp_path / "losing", labels="ba")
    begun = handover.canary(losing, "texts", share=0.5, policy=POLICY)
    assert begun.canary is not None
    present = begun.running
    until(lambda: handover.history("texts").canary is None)
    found = handover.history("texts")
    assert (found.running, found.decisions[-1].what) == (present, "rolled back")
    assert "answers are those of the present version" in found.decisions[-1].reason

    good = variant(text_artifact, tmp_path / "good")
    begun = handover.canary(good, "texts", share=0.5, shadow=True, policy=POLICY)
    assert begun.canary is not None
    version = begun.canary.version.id
    until(lambda: handover.history("texts").running == version)
    about = httpx.get(f"{service}/models/texts", timeout=30).json()
    assert about["rollout"]["running"] == version
    assert [event["what"] for event in about["rollout"]["decisions"]][-3:] == [
        "rolled back",
        "canary started",
        "promoted",
    ]
    assert {model["id"] for model in httpx.get(f"{service}/models", timeout=30).json()["data"]}.isdisjoint(
        {"texts.canary"}
    )
    with pytest.raises(SystemExit) as left:
        main.run(["status", "texts", "--url", service])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "100.0% of" in shown
    assert f"promoted {version}" in shown
    assert len(statuses) > 100
    assert set(statuses) == {200}, "no request may be lost"


def test_what_cannot_be_tried(service: str, artifacts: dict[str, Path]) -> None:
    with pytest.raises(InvalidInput, match="50 %"):
        handover.canary(artifacts["text_classification"], "texts", share=0.6)
    with pytest.raises(NotFound, match="no model 'nothing'"):
        handover.canary(artifacts["text_classification"], "nothing")
    with pytest.raises(InvalidInput, match="does text_classification"):
        handover.canary(artifacts["image_classification"], "texts")
    with pytest.raises(NotFound, match="being tried"):
        handover.promote("images")
