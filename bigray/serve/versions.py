"""Versions of a model: what was deployed under its name, what runs, what is being tried, and what was decided and why.

One JSON file per model, written whole or not at all, in ``BIGRAY_STATE`` (by default ``~/.local/state/bigray``) of the
machine that is Ray's head, in a folder per port of the service::

    ~/.local/state/bigray/8000/reviews.json

A version is an artifact; its id is the start of its manifest's sha256. Deployed artifacts are kept beside the folder they
came from (`keep`), so a later run that writes to the same folder neither changes what replicas load nor takes away what
could be gone back to.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bigray.artifact import MANIFEST, now, write_atomically
from bigray.errors import NotFound
from bigray.serve.rollout import Policy

log = logging.getLogger("ray.serve")

KEPT, DECISIONS = 10, 20
"""Versions (decisions) remembered per model."""


class _State(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Version(_State):
    """One artifact that was deployed under a name."""

    id: str
    artifact: str
    """Folder."""
    name: str = ""
    """Of the run that made it."""
    settings: dict[str, Any] = {}
    """Fields of ``serve`` set otherwise than the artifact's own recipe did."""
    deployed: str = ""
    """UTC time, ISO 8601; so all times here."""
    rolled_back: bool = False
    """Whether it was found wanting; going back passes over it."""


class Seen(_State):
    """What was seen of a canary so far, beside the present version."""

    requests: int = 0
    errors: int = 0
    p95_ms: float = 0.0
    present_requests: int = 0
    present_errors: int = 0
    present_p95_ms: float = 0.0
    compared: int = 0
    agreed: int = 0
    answered: int = 0
    """Callers that got an answer of the canary's."""


class Canary(_State):
    """A version that gets a share of the requests, and what it must show."""

    version: Version
    share: float = Field(gt=0, le=0.5)
    shadow: bool = False
    """Whether callers never see its answers."""
    policy: Policy = Policy()
    within_s: float = Field(1800.0, gt=0)
    """Longest time until a decision."""
    state: Literal["starting", "watching", "promoting"] = "starting"
    since: str = ""
    until_s: float = 0.0
    """Seconds since 1970."""
    seen: Seen = Seen()
    waiting_for: str = ""
    """Why there is no decision yet."""


class Event(_State):
    """Something that was decided, with its reason."""

    at: str
    what: Literal["deployed", "canary started", "promoted", "rolled back", "deploy failed"]
    version: str
    reason: str
    by: Literal["hand", "bigray"] = "bigray"


class History(_State):
    """Everything known about a model's versions."""

    name: str
    running: str | None = None
    """Id of the version that answers."""
    versions: tuple[Version, ...] = ()
    """Oldest first."""
    canary: Canary | None = None
    decisions: tuple[Event, ...] = ()
    """Newest last."""

    def public(self) -> dict[str, Any]:
        """Return what callers may know, as JSON: everything but folders and settings."""
        hidden = {"artifact", "settings"}
        exclude: Any = {"versions": {"__all__": hidden}, "canary": {"version": hidden}}
        return self.model_dump(mode="json", exclude=exclude)

    def find(self, identity: str | None) -> Version | None:
        """Return the version of an id."""
        return next((version for version in self.versions if version.id == identity), None)

    def earlier(self) -> Version:
        """Return the version to go back to: the last one before the running one that was not rolled back itself.

        Raises:
            NotFound: There is none.
        """
        ids = [version.id for version in self.versions]
        before = self.versions[: ids.index(self.running)] if self.running in ids else self.versions
        found = next((version for version in reversed(before) if not version.rolled_back), None)
        if found is None:
            raise NotFound(f"Model {self.name!r} has no earlier version to go back to.", code="no_earlier_version")
        return found

    def decided(self, event: Event) -> History:
        """Return this with one more decision."""
        return self.model_copy(update={"decisions": (*self.decisions, event)[-DECISIONS:]})

    def taken_over(self, version: Version) -> History:
        """Return this with a new version running, its canary at an end."""
        others = tuple(other for other in self.versions if other.id != version.id)
        return self.model_copy(
            update={"versions": (*others, version)[-KEPT:], "running": version.id, "canary": None},
        )

    def gone_back(self, version: Version) -> History:
        """Return this with an earlier version running again, and the one that ran marked."""
        marked = tuple(
            one.model_copy(update={"rolled_back": True}) if one.id == self.running else one for one in self.versions
        )
        return self.model_copy(update={"versions": marked, "running": version.id})

    def trying(self, canary: Canary | None) -> History:
        """Return this with that canary, or none."""
        return self.model_copy(update={"canary": canary})


class Store:
    """The files of one service. Belongs to one process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> dict[str, History]:
        """Return name -> history; a file that cannot be read is put aside, since models must go on without it."""
        found = {}
        for path in sorted(self._folder.glob("*.json")):
            try:
                found[path.stem] = History.model_validate_json(path.read_text(encoding="utf-8"))
            except (OSError, ValidationError, UnicodeDecodeError) as error:
                log.error("%s cannot be read and is put aside: %s", path, str(error).splitlines()[0])
                os.replace(path, path.with_suffix(".unreadable"))
        return found

    def write(self, history: History) -> None:
        """Keep a history."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(self._folder / f"{history.name}.json", history.model_dump_json(indent=2))


def state_folder(port: int) -> Path:
    """Return where the histories of a service on this port are kept on this machine."""
    if given := os.environ.get("BIGRAY_STATE"):
        return Path(given) / str(port)
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "bigray" / str(port)


def version_id(artifact: str | Path) -> str:
    """Return the id of an artifact folder: 12 hex digits of its manifest's sha256."""
    return hashlib.sha256((Path(artifact) / MANIFEST).read_bytes()).hexdigest()[:12]


def version_of(artifact: Path, name: str, settings: dict[str, Any]) -> Version:
    """Return an artifact folder as a version that is deployed now."""
    return Version(id=version_id(artifact), artifact=str(artifact), name=name, settings=settings, deployed=now())


def keep(artifact: Path) -> Path:
    """Return a folder beside an artifact that holds the same files and stays when the artifact is replaced.

    Files are hard links where the file system has them, so this takes no room. Where nothing can be written beside the
    artifact, the artifact itself is the answer.
    """
    identity = version_id(artifact)
    if artifact.name == identity and artifact.parent.name.endswith(".versions"):
        return artifact
    target = artifact.with_name(f"{artifact.name}.versions") / identity
    if (target / MANIFEST).is_file():
        return target
    scratch = target.with_name(f".{identity}.{os.getpid()}.tmp")
    try:
        shutil.copytree(artifact, scratch, copy_function=_link)
        os.rename(scratch, target)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        return target if (target / MANIFEST).is_file() else artifact
    return target


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
