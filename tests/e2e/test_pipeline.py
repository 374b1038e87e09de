"""The whole story on a small recipe: train, search, verify, artifact; and going on where a run stopped."""

import json
import random

import pytest
import torch

from bigray import front, pipeline, runs
from bigray import recipe as recipes
from bigray.artifact import Artifact
from bigray.compress import objective
from bigray.compress.objective import Limits
from bigray.errors import NothingQualified
from bigray.predictor import open_artifact
from bigray.results import Results

pytestmark = pytest.mark.cluster

GOOD = ["wonderful", "lovely", "bright", "superb", "moving", "warm"]
BAD = ["dreadful", "tedious", "bleak", "clumsy", "hollow", "cold"]


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    rng = random.Random(0)
    lines = ["text,label"]
    for number in range(480):
        label, words = rng.choice([("positive", GOOD), ("negative", BAD)])
        filler = " ".join(
            rng.choice(["the film", "a plot", "its cast", "every scene"]) for _ in range(rng.randint(2, 9))
        )
        lines.append(f"{filler} is {rng.choice(words)} {number},{label}")
    (folder / "reviews.csv").write_text("\n".join(lines), encoding="utf-8")
    (folder / "recipe.yaml").write_text(
        f"""
name: tiny
task: text_classification
output: {folder}/runs
data: {{train: reviews.csv, validation: 0.15, test: 0.2}}
model: {{name: cnn, options: {{embedding: 64, width: 256}}}}
train: {{epochs: 2, batch_size: 32, learning_rate: 3.0e-3, workers: 2}}
compress: {{trials: 3, methods: [low_rank, prune_structured, quantize_static], max_drop: 3.0, recover_epochs: 1,
           engines: [openvino, onnxruntime, torch_gpu]}}
""",
        encoding="utf-8",
    )
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def finished(ray_cluster, recipe_file):
    events = []
    results = pipeline.run(recipes.read(recipe_file), events.append)
    return results, events


def test_a_run_hands_out_a_verified_faster_artifact(finished, recipe_file):
    results, events = finished
    assert results.verdict.qualified
    assert results.verdict.drop_points <= 3.0
    assert results.chosen.speedup > 1.0
    assert results.chosen.memory_bytes < 0.6 * results.dense.memory_bytes  # no torch in it
    assert results.rows == {"train": 312, "validation": 72, "test": 96}
    assert results.verdict.rows == 96
    folder = recipe_file.parent / "runs" / "tiny"
    manifest = Artifact.open(folder / "artifact").manifest
    assert manifest.engine == results.chosen.engine
    assert manifest.metrics["test"]["accuracy"]["value"] == results.chosen.metrics["accuracy"].value
    answer = open_artifact(folder / "artifact").predict([{"text": "the film is wonderful"}])
    assert answer[0][0].label == "positive"
    assert Results.open(folder / "results.json") == results
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")
    assert [entry["epoch"] for entry in results.history] == [0, 1]
    assert any("step" in event for event in events)
    left_out = " ".join(event.get("left_out", "") for event in events)
    assert "method low_rank: low_rank makes no layer smaller" in left_out  # and no candidate was spent on it
    assert not [one for one in results.trials if "low_rank" in one.variant.label]
    assert ("engine torch_gpu" in left_out) is not torch.cuda.is_available()
    found = front.read(folder / "artifact")
    assert [point.label for point in found.points if point.kind == "chosen"] == [results.chosen.label]
    (told,) = runs.Runs(folder.parent).read()
    assert (told.state, told.chosen, told.history) == ("finished", results.chosen.label, results.history)


def test_without_epochs_the_weights_are_handed_out_as_they_are(ray_cluster, recipe_file):
    changes = ["name=as-it-is", "train.epochs=0", "compress.enabled=false"]
    results = pipeline.run(recipes.read(recipe_file, changes))
    assert (results.history, results.rows["train"]) == ([], 312)
    folder = recipe_file.parent / "runs" / "as-it-is"
    assert len(open_artifact(folder / "artifact").predict([{"text": "the film is wonderful"}])[0]) == 2


def test_every_trial_is_a_row_with_its_outcome(finished):
    results, events = finished
    assert len(results.trials) == 3
    assert [trial.chosen for trial in results.trials].count(True) == 1
    assert all(trial.reason for trial in results.trials if not trial.chosen and trial.status != "ok")
    assert sum("trial" in event and event["stage"] == "search" for event in events) == 3


def test_running_again_trains_and_searches_nothing_anew(finished, recipe_file):
    results, _ = finished
    folder = recipe_file.parent / "runs" / "tiny"
    races = {path: path.read_bytes() for path in folder.glob("search-*/race-*.json")}
    kept = sorted(folder.glob("search-*/*/trial.json"))
    before = [json.loads(path.read_text())["seconds"] for path in kept]
    again = pipeline.run(recipes.read(recipe_file, ["compress.trials=3"]))
    assert again.history == results.history
    assert [json.loads(path.read_text())["seconds"] for path in kept] == before
    assert len(again.trials) == len(results.trials)
    assert {path: path.read_bytes() for path in folder.glob("search-*/race-*.json")} == races
    assert [trial.reason for trial in again.trials] == [trial.reason for trial in results.trials]
    places = len(objective.finalists(objective.ranked(results.trials, Limits(3.0))))
    assert len(races) == (places > 1)


def test_verified_anew_the_dense_model_is_not_asked_again(finished, recipe_file):
    results, _ = finished
    folder = recipe_file.parent / "runs" / "tiny"
    (answers,) = folder.glob("search-*/answers-*.jsonl")
    written = answers.stat().st_mtime_ns
    assert len(answers.read_text(encoding="utf-8").split("\n")) == results.verdict.rows + 1
    for path in folder.glob("search-*/*/verified-*.json"):
        path.unlink()
    again = pipeline.run(recipes.read(recipe_file, ["compress.trials=3"]))
    assert again.dense.metrics == results.dense.metrics
    assert again.verdict.rows == results.verdict.rows
    assert answers.stat().st_mtime_ns == written


def test_another_budget_costs_one_verification_and_force_hands_out_what_fails(finished, recipe_file):
    results, _ = finished
    folder = recipe_file.parent / "runs" / "tiny"
    tight = ["name=tiny", "compress.size_mb=0.001"]
    with pytest.raises(NothingQualified, match=r"MB; at most 0\.001 are allowed"):
        pipeline.run(recipes.read(recipe_file, tight))
    forced = pipeline.run(recipes.read(recipe_file, [*tight, "compress.force=true"]))
    assert len(forced.trials) == len(results.trials)
    assert len(list(folder.glob("search-*"))) == 1
    assert not forced.verdict.qualified
    assert forced.verdict.forced
    assert Artifact.open(folder / "artifact").manifest.verdict["forced"] is True
    assert "handed out all the same" in (folder / "report.html").read_text(encoding="utf-8")


def test_when_nothing_qualifies_the_reason_is_told_and_no_artifact_named(finished):
    results, _ = finished
    over = [trial.model_copy(update={"drop_points": 9.0, "chosen": False}) for trial in results.trials]
    empty = results.model_copy(update={"chosen": None, "artifact": None, "max_drop": 0.5})
    told = pipeline._nothing(empty, over, None, Limits(0.5))
    assert not told.verdict.qualified
    assert "drops 9.00 points; at most 0.5 are allowed" in told.verdict.reason
    assert told.artifact is None
