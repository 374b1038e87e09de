"""Histories of models: what runs, what can be gone back to, and what survives on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bigray.artifact import Artifact, write_atomically
from bigray.errors import NotFound
from bigray.serve.rollout import Policy
from bigray.serve.versions import (
    DECISIONS,
    KEPT,
    Canary,
    Event,
    History,
    Store,
    Version,
    keep,
    state_folder,
    version_id,
)

ONE, TWO, THREE = (Version(id=letter * 12, artifact=f"/models/{letter}") for letter in "123")


def test_going_back_passes_over_what_was_rolled_back() -> None:
    history = History(name="texts").taken_over(ONE).taken_over(TWO)
    assert history.earlier() == ONE
    back = history.gone_back(ONE)
    assert back.running == ONE.id
    assert back.find(TWO.id).rolled_back  # type: ignore[union-attr]
    assert back.taken_over(THREE).earlier() == ONE
    again = back.taken_over(TWO)
    assert [version.id for version in again.versions] == [ONE.id, TWO.id]
    assert not again.versions[-1].rolled_back
    with pytest.raises(NotFound, match="no earlier version"):
        back.earlier()
    with pytest.raises(NotFound):
        History(name="texts").earlier()


def test_a_model_that_was_taken_off_has_its_versions_still() -> None:
    history = History(name="texts").taken_over(ONE).taken_over(TWO).model_copy(update={"running": None})
    assert history.earlier() == TWO


def test_histories_do_not_grow_for_ever() -> None:
    history = History(name="texts")
    for number in range(40):
        event = Event(at="", what="deployed", version=str(number), reason="by hand")
        history = history.taken_over(Version(id=str(number), artifact="a")).decided(event)
    assert len(history.versions) == KEPT
    assert len(history.decisions) == DECISIONS
    assert history.running == history.versions[-1].id == history.decisions[-1].version == "39"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path / "8000")
    assert store.read() == {}
    canary = Canary(version=TWO, share=0.1, policy=Policy(agreement=0.9), until_s=5.0)
    history = History(name="texts").taken_over(ONE).trying(canary)
    store.write(history)
    assert Store(tmp_path / "8000").read() == {"texts": history}
    write_atomically(tmp_path / "8000" / "images.json", '{"name": 1')
    assert set(store.read()) == {"texts"}, "models must go on without a file that is broken"
    assert (tmp_path / "8000" / "images.unreadable").is_file()
    assert "/models" not in str(history.public()), "where files lie is nobody's business"


def test_where_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGRAY_STATE", "/state")
    assert state_folder(8000) == Path("/state/8000")
    monkeypatch.delenv("BIGRAY_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert state_folder(8000) == Path("/xdg/bigray/8000")


def test_a_kept_artifact_outlives_its_folder(text_artifact: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(text_artifact, tmp_path / "artifact"))
    kept = keep(folder)
    assert kept == tmp_path / "artifact.versions" / version_id(folder)
    assert keep(folder) == keep(kept) == kept
    weights = next(path for path in (folder / "model").iterdir())
    assert weights.stat().st_ino == (kept / "model" / weights.name).stat().st_ino, "it should take no room"
    shutil.rmtree(folder)
    assert Artifact.open(kept).manifest.task == "text_classification"


def test_an_artifact_in_a_folder_that_cannot_be_written_stays_where_it_is(
    text_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(text_artifact, tmp_path / "artifact"))

    def refused(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(shutil, "copytree", refused)
    assert keep(folder) == folder
