"""A model on disk: a folder of safetensors, ONNX or OpenVINO files, the task's state, and a manifest.

::

    ARTIFACT/
      bigray.json     the manifest, written last and renamed into place: while it is missing there is no artifact
      task/           what the task learned: labels, tokenizer, sizes
      model/          the files of one engine

The manifest holds a sha256 per file. Opening checks every one; a changed, missing or added file is refused. No file is
ever a pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bigray.errors import ArtifactCorrupt, ArtifactError
from bigray.models.base import Architecture

MANIFEST = "bigray.json"
FORMAT = 1
ALLOWED_SUFFIXES = {".json", ".safetensors", ".onnx", ".data", ".xml", ".bin", ".txt", ".model", ".md"}
"""Kinds of file an artifact may hold. ``.bin`` is OpenVINO's weights, read by OpenVINO only."""


class Record(BaseModel):
    """Size and digest of one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


class Step(BaseModel):
    """One applied compression method."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    method: str
    version: int = 1
    knobs: dict[str, Any] = {}


class Manifest(BaseModel):
    """Everything known about a model. Metrics are fractions, times milliseconds, sizes bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())

    format: Literal[1] = 1
    """Version of this layout."""
    name: str
    """Name of the run that made it."""
    created: str
    """UTC time, ISO 8601."""
    task: str
    architecture: Architecture
    """The dense network it comes from."""
    engine: str
    """Runtime that reads model/."""
    steps: tuple[Step, ...] = ()
    """Compression methods applied, in order; empty for a dense model."""
    recipe: dict[str, Any] = {}
    """The whole recipe."""
    metrics: dict[str, Any] = {}
    """Quality on each split, with confidence interval: {split: {metric: {value, low, high, rows}}}."""
    latency: dict[str, Any] = {}
    """Measured speed per batch size, with threads: {"1": {p50_ms, p95_ms, items_per_s, ...}}; and the dense model's."""
    verdict: dict[str, Any] = {}
    """What was verified, against what budget, with what outcome."""
    hardware: dict[str, Any] = {}
    """Fingerprint of the machine the numbers were measured on."""
    versions: dict[str, str] = {}
    """Versions of Python, bigray and the libraries involved."""
    files: dict[str, Record] = {}
    """Path relative to the folder -> size and digest."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the model files (not of the task's)."""
        return sum(record.size_bytes for path, record in self.files.items() if path.startswith("model/"))


@dataclass(frozen=True)
class Artifact:
    """An artifact folder that was opened."""

    directory: Path
    manifest: Manifest

    @property
    def task_dir(self) -> Path:
        """Folder of the task's state."""
        return self.directory / "task"

    @property
    def model_dir(self) -> Path:
        """Folder of the engine's files."""
        return self.directory / "model"

    @classmethod
    def open(cls, directory: str | Path, *, verify: bool = True) -> Artifact:
        """Read the manifest and, with ``verify``, check every file against it.

        Raises:
            ArtifactError: No manifest, one that is malformed or of a newer format, or a file of a kind not allowed.
            ArtifactCorrupt: A file differs from its record, is missing, or was added.
        """
        root = Path(directory)
        path = root / MANIFEST
        if not path.is_file():
            raise ArtifactError(
                f"{str(root)!r} is no bigray artifact: it has no {MANIFEST}. Give the folder that a run wrote."
            )
        manifest = _read(path)
        if verify:
            _verify(root, manifest)
        return cls(root, manifest)


@contextmanager
def create(directory: str | Path) -> Iterator[Draft]:
    """Fill a new artifact: ``with create(dir) as draft: ...; draft.commit(manifest)``.

    The folder appears under its name only when the manifest is committed, whole and synced to disk. An existing
    artifact at that place is replaced then, and not before. Without a commit nothing is left behind.
    """
    target = Path(directory)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    draft = Draft(scratch, target)
    (scratch / "task").mkdir(parents=True)
    (scratch / "model").mkdir()
    try:
        yield draft
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True)
class Draft:
    """An artifact being written."""

    directory: Path
    target: Path

    @property
    def task_dir(self) -> Path:
        """Write the task's state here."""
        return self.directory / "task"

    @property
    def model_dir(self) -> Path:
        """Write the engine's files here."""
        return self.directory / "model"

    def commit(self, manifest: Manifest) -> Artifact:
        """Record every file, write the manifest last, and move the folder into place."""
        files = {str(path.relative_to(self.directory)): record(path) for path in _files(self.directory)}
        _check_kinds(files)
        complete = manifest.model_copy(update={"files": files})
        for path in _files(self.directory):
            _sync(path)
        write_atomically(self.directory / MANIFEST, complete.model_dump_json(indent=2))
        if self.target.exists():
            shutil.rmtree(self.target)
        os.rename(self.directory, self.target)
        _sync(self.target.parent)
        return Artifact(self.target, complete)


def now() -> str:
    """Return the present time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def record(path: Path) -> Record:
    """Measure one file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Record(sha256=digest, size_bytes=path.stat().st_size)


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader (or a crash) sees the old one or the new one, never a part."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with scratch.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)
    _sync(path.parent)


def _read(path: Path) -> Manifest:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{str(path)!r} cannot be read: {error}.") from None
    found = raw.get("format") if isinstance(raw, dict) else None
    if found != FORMAT:
        raise ArtifactError(f"{str(path)!r} is of format {found!r}; this version of bigray reads format {FORMAT}.")
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{str(path)!r} is malformed at {where!r}: {first['msg']}.") from None


def _verify(root: Path, manifest: Manifest) -> None:
    _check_kinds(manifest.files)
    present = {str(path.relative_to(root)) for path in _files(root)} - {MANIFEST}
    if extra := sorted(present - set(manifest.files)):
        raise ArtifactCorrupt(f"{str(root)!r} holds {extra[0]!r}, which its manifest does not list. Do not use it.")
    for name, expected in manifest.files.items():
        path = root / name
        if name not in present:
            raise ArtifactCorrupt(f"{name!r} is missing from {str(root)!r}. Copy the artifact again.")
        found = record(path)
        if found != expected:
            raise ArtifactCorrupt(
                f"{name!r} in {str(root)!r} has changed: sha256 {found.sha256[:12]}…, recorded {expected.sha256[:12]}…. "
                "Copy the artifact again."
            )


def _check_kinds(files: dict[str, Record]) -> None:
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ArtifactError(f"The manifest lists {name!r}, which lies outside the artifact.")
        if Path(name).suffix not in ALLOWED_SUFFIXES:
            raise ArtifactError(
                f"{name!r} is of a kind that an artifact may not hold. Allowed: {', '.join(sorted(ALLOWED_SUFFIXES))}."
            )


def _files(root: Path) -> list[Path]:
    for path in root.rglob("*"):
        if path.is_symlink():
            raise ArtifactCorrupt(f"{str(path)!r} is a link; an artifact holds plain files only.")
    return sorted(path for path in root.rglob("*") if path.is_file())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
