"""People enrolled with a served model: verified, identified, and gone once they are removed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import client
from cases import b64
from conftest import SETTINGS, make_artifact

from bigray.artifact import Artifact
from bigray.errors import InvalidInput, NotFound, ServiceError
from bigray.recipe import Serve
from bigray.serve.people import People
from bigray.serve.replica import Replica
from bigray.tasks._vision import sample_image

ANN, BOB = sample_image(64, 64, 1), sample_image(64, 64, 2)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact("face_recognition", tmp_path_factory.mktemp("people") / "faces")


def _run(artifact: Path, steps: Callable[[httpx.AsyncClient], Awaitable[None]], replica: Replica | None = None) -> None:
    async def run() -> None:
        async with client(replica or Replica.open(str(artifact), "faces", Serve(**SETTINGS))) as http:
            await steps(http)

    asyncio.run(run())


async def _ask(http: httpx.AsyncClient, image: bytes, **parameters: Any) -> Any:
    answer = await http.post("", json={"inputs": b64(image), "parameters": {"threshold": 0.99, **parameters}})
    return answer.json()


def test_enrol_verify_identify_remove(artifact: Path) -> None:
    async def steps(http: httpx.AsyncClient) -> None:
        assert (await http.get("/people")).json() == {"people": []}
        for name, image in (("ann", ANN), ("bob", BOB)):
            embedding = (await _ask(http, image))["embedding"]
            answer = await http.put(f"/people/{name}", json={"embeddings": [embedding]})
            assert (answer.status_code, answer.json()) == (200, {"enrolled": name})
        assert (await http.get("/people")).json() == {"people": ["ann", "bob"]}
        assert next(match["label"] for match in (await _ask(http, ANN, gallery="stored"))["matches"]) == "ann"
        assert (await _ask(http, BOB, reference="bob"))["verified"] is True
        # another replica of the same artifact knows them, and knows at once when one is removed
        other = Replica.open(str(artifact), "faces", Serve(**SETTINGS))
        async with client(other) as beside:
            assert next(match["label"] for match in (await _ask(beside, ANN, gallery="stored"))["matches"]) == "ann"
            assert (await http.delete("/people/ann")).json() == {"removed": "ann"}
            assert "ann" not in json.dumps(await _ask(beside, ANN, gallery="stored"))
            assert "ann" not in other.people._read
            assert (await _ask(beside, ANN, reference="ann"))["code"] == "unknown_person"
        assert (await http.delete("/people/ann")).status_code == 404

    _run(artifact, steps)
    folder = artifact.with_name("faces.people")
    assert [path.name for path in folder.iterdir()] == ["bob.json"]
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "bob.json").stat().st_mode & 0o077 == 0
    Artifact.open(artifact)  # its checksums hold


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("PUT", "/people/..%2f..%2fx", {"embeddings": [[1.0]]}, 422, "wrong_name"),
        ("PUT", "/people/a b", {"embeddings": [[1.0]]}, 422, "wrong_name"),
        ("PUT", "/people/x", {"embeddings": [[1.0, 2.0]]}, 422, "wrong_embedding"),
        ("PUT", "/people/x", {"embeddings": []}, 422, "wrong_type"),
        ("PUT", "/people/x", {"faces": 1}, 422, "wrong_type"),
        ("PUT", "/people/x", [], 422, "wrong_type"),
        ("POST", "/people/x", {}, 405, None),
        ("PUT", "/people", {"embeddings": [[1.0]]}, 405, None),
        ("DELETE", "/people/nobody", None, 404, "unknown_person"),
    ],
)
def test_wrong_requests_are_refused(
    artifact: Path, replica: Replica, method: str, path: str, body: Any, status: int, code: str | None
) -> None:
    async def steps(http: httpx.AsyncClient) -> None:
        answer = await http.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        if code is not None:
            assert answer.json()["code"] == code

    _run(artifact, steps, replica)
    assert not list(artifact.parent.glob("**/x.json"))


@pytest.fixture(scope="module")
def replica(artifact: Path) -> Replica:
    return Replica.open(str(artifact), "faces", Serve(**SETTINGS))


def test_a_file_of_another_version_or_a_changed_one_is_not_compared(tmp_path: Path) -> None:
    people = People(tmp_path / "model", "one")
    people.put("ann", [[0.6, 0.8]], 2)
    assert People(tmp_path / "model", "one").everyone() == {"ann": [[0.6, 0.8]]}
    with pytest.raises(ServiceError) as caught:
        People(tmp_path / "model", "two").everyone()
    assert caught.value.code == "wrong_version"
    path = tmp_path / "model.people" / "ann.json"
    path.write_text(path.read_text().replace("0.6", "0.7"))
    with pytest.raises(ServiceError) as caught:
        People(tmp_path / "model", "one").get("ann")
    assert caught.value.code == "corrupt_person"


def test_removing_leaves_nothing_of_a_broken_off_enrolment(tmp_path: Path) -> None:
    people = People(tmp_path / "model", "one")
    people.put("ann", [[0.6, 0.8]], 2)
    (people.folder / ".ann.4711.tmp").write_text("half")
    people.remove("ann")
    assert list(people.folder.iterdir()) == []
    with pytest.raises(NotFound):
        people.remove("ann")
    with pytest.raises(InvalidInput):
        people.remove("../model")


def test_managing_people_needs_an_admin_key(tmp_path: Path) -> None:
    from bigray.errors import Forbidden
    from bigray.serve import auth

    keys = {scope: auth.create_key(tmp_path / "keys.json", scope, scopes=[scope])[1] for scope in ("predict", "admin")}
    gate = auth.Gate(tmp_path / "keys.json")
    bearer = {scope: [f"Bearer {key}".encode()] for scope, key in keys.items()}
    assert gate.check("/models/faces", bearer["predict"]) is not None
    assert gate.check("/models/people", bearer["predict"]) is not None
    for path in ("/models/faces/people", "/models/faces/people/ann"):
        with pytest.raises(Forbidden):
            gate.check(path, bearer["predict"])
        assert gate.check(path, bearer["admin"]) is not None
