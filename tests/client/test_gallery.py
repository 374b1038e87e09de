"""Enrolling, removing, keeping and sending people; and how answers of recognition come over the wire."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import httpx
import pytest

from bigray import Client, Gallery
from bigray.errors import InvalidInput
from bigray.schemas import Recognition


def _answer(*numbers: float) -> Recognition:
    return Recognition(embedding=list(numbers))


def test_people_are_added_to_and_removed() -> None:
    gallery = Gallery()
    gallery.enrol("ann", [_answer(1.0, 0.0), _answer(0.0, 1.0)])
    gallery.enrol("ann", _answer(0.6, 0.8))
    gallery.enrol("bob", _answer(-1.0, 0.0))
    assert gallery == {"ann": [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], "bob": [[-1.0, 0.0]]}
    del gallery["ann"]
    assert list(gallery) == ["bob"]
    for name, answers in (("", [_answer(1.0)]), ("cid", [])):
        with pytest.raises(InvalidInput):
            gallery.enrol(name, answers)


def test_a_gallery_is_kept_in_a_file_of_its_owner(tmp_path: Path) -> None:
    gallery = Gallery({"ann": [[1.0, 0.5]]})
    gallery.save(tmp_path / "people.json")
    assert Gallery.open(tmp_path / "people.json") == gallery
    assert (tmp_path / "people.json").stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["people.json"]
    (tmp_path / "other.json").write_text('{"ann": [1.0]}')
    for name, problem in (("other.json", "no gallery"), ("absent.json", "No such file")):
        with pytest.raises(InvalidInput, match=problem):
            Gallery.open(tmp_path / name)


def test_verify_and_identify_over_the_wire() -> None:
    sent = []

    def service(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        found = {"embedding": [0.6, 0.8], "threshold": 0.5, "score": 0.6, "verified": True, "matches": []}
        return httpx.Response(200, json=found)

    gallery = Gallery({"ann": [[1.0, 0.0]]})
    with Client("http://test", transport=httpx.MockTransport(service)) as client:
        client.face_recognition(b"picture", model="m")
        claim = client.face_recognition(b"picture", model="m", reference=gallery["ann"], false_accept_rate=0.01)
        who = client.speaker_recognition(b"sound", model="m", gallery=gallery, top_k=1)
        with pytest.raises(InvalidInput, match="gallery"):
            client.speaker_recognition(b"sound", model="m", gallery={"ann": "x"})
    assert sent[0].content == b"picture"
    encoded = base64.b64encode(b"picture").decode()
    parameters = {"reference": [[1.0, 0.0]], "false_accept_rate": 0.01}
    assert json.loads(sent[1].content) == {"inputs": encoded, "parameters": parameters}
    assert json.loads(sent[2].content)["parameters"] == {"gallery": {"ann": [[1.0, 0.0]]}, "top_k": 1}
    assert (claim.verified, claim.score, who.matches) == (True, 0.6, [])
    assert len(sent) == 3
