"""People enrolled with a served model, who can be removed: a folder beside the artifact, one file for each.

::

    GET    /models/NAME/people          who is enrolled
    PUT    /models/NAME/people/PERSON   {"embeddings": [[...], ...]}: enrol, in place of what was there
    DELETE /models/NAME/people/PERSON   remove

    ARTIFACT/          untouched: its manifest and checksums say nothing of people
    ARTIFACT.people/   PERSON.json: {"model": version, "sha256": of the embeddings, "embeddings": [[...], ...]}

Who may do this needs a key with the scope ``admin``, where keys are asked for. A prediction with ``gallery: "stored"``
identifies among all of them, one with ``reference: "PERSON"`` verifies a claim. Removing someone deletes the one file that
knows of that person; every replica looks at the folder at each question and keeps nothing that is not there. Copies and
backups that others made of the folder are theirs to clean. Embeddings fit the model that made them, so a file of another
version is refused and not compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bigray.errors import InvalidInput, MethodNotAllowed, NotFound, ServiceError
from bigray.schemas import Finite, RecognitionParameters, Wire
from bigray.serve import limits, openapi

PATH = "/people"
PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
MAX_PEOPLE = 10_000
MAX_EMBEDDINGS = 100
"""Of one person."""


class _Body(BaseModel):
    """What enrols someone."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    embeddings: list[list[Finite]] = Field(min_length=1, max_length=MAX_EMBEDDINGS)


class Enrolled(_Body):
    """One person's file."""

    model: str
    sha256: str


class People:
    """The folder of one artifact. Several replicas may share it.

    Args:
        artifact: Folder of the artifact.
        version: What tells it from other versions.
    """

    def __init__(self, artifact: str | Path, version: str) -> None:
        self.folder = Path(artifact).resolve().with_name(f"{Path(artifact).resolve().name}.people")
        self._version = version
        self._read: dict[str, tuple[tuple[int, ...], list[list[float]]]] = {}

    def names(self) -> list[str]:
        """Return who is enrolled."""
        if not self.folder.is_dir():
            return []
        return sorted(path.stem for path in self.folder.glob("*.json") if PERSON.fullmatch(path.stem))

    def everyone(self) -> dict[str, list[list[float]]]:
        """Return the embeddings of everyone enrolled; raises as `get`."""
        found = {name: self._get(name) for name in self.names()}
        self._read = {name: known for name, known in self._read.items() if name in found}
        return {name: embeddings for name, embeddings in found.items() if embeddings}

    def get(self, name: str) -> list[list[float]]:
        """Return one person's embeddings.

        Raises:
            NotFound: Nobody of that name.
            ServiceError: ``wrong_version``, ``corrupt_person``: a file that must not be compared.
        """
        embeddings = self._get(_checked(name))
        if not embeddings:
            raise NotFound("Nobody of that name is enrolled with this model.", code="unknown_person")
        return embeddings

    def put(self, name: str, embeddings: list[list[float]], size: int) -> None:
        """Enrol someone, in place of what was there; a reader sees all of it or nothing.

        Raises:
            InvalidInput: A name of another form, or embeddings of another length than ``size``.
        """
        path = self.folder / f"{_checked(name)}.json"
        if any(len(one) != size or not any(one) for one in embeddings):
            raise InvalidInput(
                f"Embeddings of this model have {size} numbers, not all 0.",
                code="wrong_embedding",
                pointer="/embeddings",
            )
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if not path.exists() and len(self.names()) >= MAX_PEOPLE:
            raise InvalidInput(f"{MAX_PEOPLE} people are enrolled, as many as there may be.", code="too_many_people")
        enrolled = Enrolled(model=self._version, sha256=_digest(embeddings), embeddings=embeddings)
        scratch = self.folder / f".{name}.{os.getpid()}.tmp"
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(enrolled.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
        self._sync()

    def remove(self, name: str) -> None:
        """Delete all that is known of someone, what an interrupted `put` left included.

        Raises:
            NotFound: Nobody of that name.
        """
        path = self.folder / f"{_checked(name)}.json"
        there = path.exists()
        for left in [path, *self.folder.glob(f".{name}.*.tmp")]:
            left.unlink(missing_ok=True)
        self._read.pop(name, None)
        if not there:
            raise NotFound("Nobody of that name is enrolled with this model.", code="unknown_person")
        self._sync()

    def filled_in(self, parameters: Wire | None) -> Wire | None:
        """Return the parameters of a prediction with embeddings in the place of names; raises as `get`."""
        if not isinstance(parameters, RecognitionParameters):
            return parameters
        known: dict[str, Any] = {}
        if isinstance(parameters.reference, str):
            known["reference"] = self.get(parameters.reference)
        if parameters.gallery == "stored":
            known["gallery"] = self.everyone()
        return parameters.model_copy(update=known) if known else parameters

    def answer(self, method: str, path: str, body: bytes, size: int) -> dict[str, Any]:
        """Answer a request at the paths above; ``size`` is the length of this model's embeddings.

        Raises:
            MethodNotAllowed, InvalidInput, NotFound: As their names say.
        """
        name = path.removeprefix(PATH).removeprefix("/")
        if not name and method in {"GET", "HEAD"}:
            return {"people": self.names()}
        if name and method == "PUT":
            self.put(name, _embeddings(limits.parse_json(body)), size)
            return {"enrolled": name}
        if name and method == "DELETE":
            self.remove(name)
            return {"removed": name}
        raise MethodNotAllowed("This path answers PUT and DELETE." if name else "This path answers GET.")

    def _get(self, name: str) -> list[list[float]]:
        """Return one person's embeddings, none when there is no such file now."""
        path = self.folder / f"{name}.json"
        try:
            found = path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            known = self._read.get(name)
            if known is None or known[0] != stamp:
                known = self._read[name] = (stamp, self._checked(path.read_bytes()))
        except FileNotFoundError:
            self._read.pop(name, None)
            return []
        return known[1]

    def _checked(self, data: bytes) -> list[list[float]]:
        try:
            enrolled = Enrolled.model_validate_json(data)
        except ValidationError:
            enrolled = None
        if enrolled is None or _digest(enrolled.embeddings) != enrolled.sha256:
            raise ServiceError("The file of an enrolled person is damaged. Enrol them anew.", code="corrupt_person")
        if enrolled.model != self._version:
            raise ServiceError(
                "Someone was enrolled with another version of this model, whose embeddings do not fit. Enrol them anew.",
                code="wrong_version",
            )
        return enrolled.embeddings

    def _sync(self) -> None:
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def belongs(path: str) -> bool:
    """Say whether a path below a model's own is one of these."""
    return path == PATH or path.startswith(f"{PATH}/")


def described() -> dict[str, Any]:
    """Return these paths for the OpenAPI page of a model."""
    form = {"type": "string", "pattern": f"^{PERSON.pattern}$"}
    person = {"name": "person", "in": "path", "required": True, "schema": form}
    body = {"application/json": {"schema": _Body.model_json_schema()}}
    operations = {
        "get": openapi.operation("Who is enrolled", _said("people", {"type": "array", "items": {"type": "string"}})),
        "put": openapi.operation(
            "Enrol someone, in place of what was there", _said("enrolled", {"type": "string"}), body
        ),
        "delete": openapi.operation("Remove someone", _said("removed", {"type": "string"})),
    }
    for operation in operations.values():
        operation["responses"]["403"] = {"description": "Key without the scope admin"}
    for method in ("put", "delete"):
        operations[method]["parameters"] = [person]
    return {PATH: {"get": operations.pop("get")}, f"{PATH}/{{person}}": operations}


def _said(field: str, value: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {field: value}, "required": [field], "additionalProperties": False}


def _checked(name: str) -> str:
    if not PERSON.fullmatch(name):
        raise InvalidInput(
            "A person is named by 1 to 64 letters, digits, dashes and underscores, such as a number of yours.",
            code="wrong_name",
        )
    return name


def _embeddings(value: Any) -> list[list[float]]:
    try:
        return _Body.model_validate(value).embeddings
    except ValidationError:
        raise InvalidInput(
            f'Send {{"embeddings": [[...], ...]}}, 1 to {MAX_EMBEDDINGS} of this model\'s answers.', code="wrong_type"
        ) from None


def _digest(embeddings: list[list[float]]) -> str:
    return hashlib.sha256(json.dumps(embeddings).encode()).hexdigest()
