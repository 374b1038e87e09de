"""The OpenAPI page of a model: true to what its paths answer, and free of dangling references."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import jsonschema
import pytest
from asking import client
from cases import GOOD_TEXT, png
from conftest import NAMES

from bigray.serve.replica import Replica


def page(replica: Replica) -> dict[str, Any]:
    async def run() -> Any:
        async with client(replica) as http:
            return (await http.get("/openapi.json")).json()

    found: dict[str, Any] = asyncio.run(run())
    return found


@pytest.mark.parametrize("name", NAMES.values())
def test_references_and_paths(name: str, replicas: dict[str, Replica]) -> None:
    document = page(replicas[name])
    assert document["openapi"].startswith("3.1")
    for reference in set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document))):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"], reference
    assert ("/models/speech/v1/audio/transcriptions" in document["paths"]) == (name == "speech")
    people = document["paths"].get(f"/models/{name}/people/{{person}}", {})
    assert set(people) == ({"put", "delete"} if name in ("voices", "faces") else set())

    async def run() -> None:
        async with client(replicas[name]) as http:
            for path, operations in document["paths"].items():
                for method in operations:
                    answer = await http.request(method, path.removeprefix(f"/models/{name}"))
                    assert answer.status_code not in {404, 405, 500}, (method, path)

    asyncio.run(run())


@pytest.mark.parametrize(("name", "sent"), [("texts", {"json": GOOD_TEXT}), ("objects", {"content": png(64, 64)})])
def test_answers_are_as_described(name: str, sent: dict[str, Any], replicas: dict[str, Replica]) -> None:
    document = page(replicas[name])

    async def run() -> Any:
        async with client(replicas[name]) as http:
            return (await http.post("", **sent)).json()

    operation = document["paths"][f"/models/{name}"]["post"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(asyncio.run(run()), schema | {"components": document["components"]})
    if name == "texts":
        asked = operation["requestBody"]["content"]["application/json"]["schema"]
        jsonschema.validate(GOOD_TEXT, asked | {"components": document["components"]})
