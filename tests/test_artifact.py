"""Artifacts: nothing half-written is ever opened, and nothing changed is ever loaded."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest

from bigray.artifact import MANIFEST, Artifact, Manifest, Step, create, now, write_atomically
from bigray.errors import ArtifactCorrupt, ArtifactError
from bigray.models.base import Architecture


def manifest() -> Manifest:
    return Manifest(
        name="reviews",
        created=now(),
        task="text_classification",
        architecture=Architecture(source="bigray", name="ffnn", options={"width": 8}),
        engine="openvino",
        steps=(Step(method="quantize_static", knobs={"bits": 8}),),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with create(tmp_path / "artifact") as draft:
        (draft.task_dir / "task.json").write_text("{}", encoding="utf-8")
        (draft.model_dir / "model.xml").write_text("<net/>", encoding="utf-8")
        (draft.model_dir / "model.bin").write_bytes(bytes(100))
        draft.commit(manifest())
    return tmp_path / "artifact"


def test_what_was_written_opens(folder: Path) -> None:
    artifact = Artifact.open(folder)
    assert artifact.manifest.steps[0].knobs == {"bits": 8}
    assert set(artifact.manifest.files) == {"task/task.json", "model/model.xml", "model/model.bin"}
    assert artifact.manifest.size_bytes == 106
    assert sorted(path.name for path in folder.parent.iterdir()) == ["artifact"]


def test_without_commit_nothing_is_left(tmp_path: Path) -> None:
    with create(tmp_path / "artifact") as draft:
        (draft.model_dir / "model.bin").write_bytes(b"x")
    with pytest.raises(KeyboardInterrupt), create(tmp_path / "artifact"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_new_artifact_replaces_the_old_one_whole(folder: Path) -> None:
    with create(folder) as draft:
        (draft.model_dir / "model.onnx").write_bytes(b"new")
        assert Artifact.open(folder).manifest.size_bytes == 106  # the old one is there until the commit
        draft.commit(manifest())
    assert set(Artifact.open(folder).manifest.files) == {"model/model.onnx"}


def test_a_changed_missing_or_added_file_is_refused(folder: Path) -> None:
    weights = folder / "model" / "model.bin"
    weights.write_bytes(bytes(99) + b"\x01")
    with pytest.raises(ArtifactCorrupt, match=r"model/model\.bin.*has changed"):
        Artifact.open(folder)
    weights.unlink()
    with pytest.raises(ArtifactCorrupt, match="missing"):
        Artifact.open(folder)
    weights.write_bytes(bytes(100))
    (folder / "model" / "extra.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ArtifactCorrupt, match=r"extra\.json"):
        Artifact.open(folder)


def test_a_truncated_file_is_refused(folder: Path) -> None:
    os.truncate(folder / "model" / "model.bin", 10)
    with pytest.raises(ArtifactCorrupt):
        Artifact.open(folder)


def test_links_are_refused(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(100))
    (folder / "model" / "model.bin").unlink()
    (folder / "model" / "model.bin").symlink_to(secret)
    with pytest.raises(ArtifactCorrupt, match="link"):
        Artifact.open(folder)


def test_a_pickle_is_never_part_of_an_artifact(tmp_path: Path, folder: Path) -> None:
    with create(tmp_path / "bad") as draft:
        (draft.model_dir / "model.pt").write_bytes(pickle.dumps({"a": 1}))
        with pytest.raises(ArtifactError, match="kind"):
            draft.commit(manifest())
    assert not (tmp_path / "bad").exists()
    edit(folder, lambda raw: raw["files"].update({"model/model.pkl": {"sha256": "0" * 64, "size_bytes": 1}}))
    with pytest.raises(ArtifactError, match=r"model\.pkl"):
        Artifact.open(folder)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd.json", "model/../../x.json"])
def test_a_manifest_cannot_name_files_outside(folder: Path, name: str) -> None:
    edit(folder, lambda raw: raw["files"].update({name: {"sha256": "0" * 64, "size_bytes": 1}}))
    with pytest.raises(ArtifactError, match="outside"):
        Artifact.open(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read"),
        ("[]", "format None"),
        ('{"format": 2}', "format 2"),
        ('{"format": 1}', "malformed"),
        ("{" * 10_000, "cannot be read"),
        ('{"format": 1, "name": 3}', "malformed"),
    ],
)
def test_a_malformed_manifest_is_refused(folder: Path, text: str, words: str) -> None:
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=words):
        Artifact.open(folder)


def test_a_folder_without_manifest_is_none(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ArtifactError, match="no bigray artifact"):
        Artifact.open(tmp_path)
    with pytest.raises(ArtifactError, match="no bigray artifact"):
        Artifact.open(tmp_path / "nowhere")
    (folder / MANIFEST).unlink()
    with pytest.raises(ArtifactError):
        Artifact.open(folder)


def test_an_artifact_can_be_copied_and_moved(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert Artifact.open(tmp_path / "copy").manifest == Artifact.open(folder).manifest


def test_atomic_writes_leave_no_scratch_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for text in ("one", "two"):
        write_atomically(path, text)
    assert path.read_text(encoding="utf-8") == "two"
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def edit(folder: Path, change: object) -> None:
    raw = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    change(raw)  # type: ignore[operator]
    (folder / MANIFEST).write_text(json.dumps(raw), encoding="utf-8")
