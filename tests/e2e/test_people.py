"""Face recognition from a folder of people to an artifact that knows its thresholds and verifies a claim."""

import json

import pytest

from bigray import Gallery, pipeline, plugins
from bigray import recipe as recipes
from bigray.predictor import open_artifact
from bigray.schemas import RecognitionParameters

pytestmark = pytest.mark.cluster
PEOPLE, PICTURES = 20, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    rows = plugins.load("bigray.data.catalogue", "faces").ENTRY.rows()
    for number, row in enumerate(rows[: PEOPLE * 12]):
        if number % 12 < PICTURES:
            place = folder / "faces" / row["identity"]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number % 12}.png").write_bytes(row["image"])
    (folder / "recipe.yaml").write_text(
        f"""
name: people
task: face_recognition
output: {folder}/runs
data: {{train: faces, validation: 0.25, test: 0.25}}
model: {{options: {{width: 8, stages: 2, embedding: 16}}}}
train: {{epochs: 3, batch_size: 20, learning_rate: 5.0e-3}}
compress: {{enabled: false}}
""",
        encoding="utf-8",
    )
    return folder


def test_people_never_seen_are_told_apart(ray_cluster, folder):
    results = pipeline.run(recipes.read(folder / "recipe.yaml"))
    assert results.rows == {"train": 60, "validation": 30, "test": 30}
    assert results.dense.metrics["eer"].value < 0.45
    assert {"false_accept_rate", "rank_1", "verification_accuracy"} < set(results.dense.metrics)
    artifact = folder / "runs" / "people" / "artifact"
    state = json.loads((artifact / "task" / "task.json").read_text())
    assert len(state["identities"]) == 10  # five people each were held out with all their pictures
    thresholds = dict(state["thresholds"])
    assert 0.01 in thresholds
    predictor = open_artifact(artifact)
    files = sorted((folder / "faces").glob("*/0.png"))
    gallery = Gallery()
    for file, answer in zip(files, predictor.predict([{"image": file.read_bytes()} for file in files]), strict=True):
        gallery.enrol(file.parent.name, answer)
    wanted = RecognitionParameters(gallery=gallery, reference=gallery[files[3].parent.name], false_accept_rate=0.01)
    (answer,) = predictor.predict([{"image": files[3].read_bytes()}], wanted)
    assert answer.verified
    assert answer.threshold == thresholds[0.01]
    assert answer.matches[0].label == files[3].parent.name
