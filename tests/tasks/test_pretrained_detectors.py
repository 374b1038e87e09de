"""Detectors of transformers and torchvision: as they are, exported, and the DETR-like ones trained further."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigray import plugins
from bigray.errors import ModelNotFound, RecipeError
from bigray.models.base import Architecture, build
from bigray.predictor import Predictor, load_session, program
from bigray.recipe import Data, Model
from bigray.schemas import DetectionParameters
from bigray.tasks.object_detection import TASK, ObjectDetection
from tests import checkpoints
from tests.tasks.test_object_detection import ROWS

SSD = "ssdlite320_mobilenet_v3_large"
ANY = DetectionParameters(threshold=0.0)


def _tensors(batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def _task(model: Model, **data: Any) -> ObjectDetection:
    return TASK.prepare(Data(train="x", **data), model, ROWS)


@pytest.fixture(params=["detr", "yolos", "rt_detr"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return checkpoints.detector(tmp_path / "hub", request.param)


def _model(folder: Path) -> Model:
    return Model(source="transformers", name=str(folder), input={"image_size": 96})


def test_a_checkpoint_keeps_its_labels_when_they_fit(folder: Path) -> None:
    task = _task(_model(folder))
    assert task.state.labels == ("green", "red", "blue")
    assert _task(_model(folder), labels=["blue", "red"]).state.labels == ("green", "red", "blue")
    other = TASK.prepare(Data(train="x"), _model(folder), [{**ROWS[0], "labels": ["car", "red"]}])
    assert other.state.labels == ("car", "red")
    network = build(other.architecture(_model(folder)), pretrained=True).eval()
    with torch.no_grad():
        outputs = other.forward(network, _tensors(other.encode(ROWS[:1])))
    assert outputs["scores"].shape[-1] == 2


def test_its_answers_are_those_of_transformers(folder: Path) -> None:
    from transformers import AutoModelForObjectDetection

    task = _task(_model(folder))
    architecture = Architecture.model_validate_json(task.architecture(_model(folder)).model_dump_json())
    network = build(architecture, pretrained=True).eval()
    theirs = AutoModelForObjectDetection.from_pretrained(folder).eval()
    batch = task.encode(ROWS[:2])
    with torch.no_grad():
        outputs = task.forward(network, _tensors(batch))
        found = theirs(pixel_values=torch.from_numpy(batch["pixel_values"]))
    softmax = found.logits.shape[-1] == 4
    scores = found.logits.softmax(-1)[..., :-1] if softmax else found.logits.sigmoid()
    assert torch.allclose(outputs["scores"], scores, atol=1e-5)
    answers = task.decode({name: value.numpy() for name, value in outputs.items()}, batch, ANY)
    (best,) = answers[0][:1]
    assert best.score == pytest.approx(float(scores[0].max()), abs=1e-5)
    query = int(scores[0].amax(-1).argmax())
    # 80 x 60 pixels fitted into a frame of 96 x 64, so that its width is 64 / 60 * 80, or stretched over all of it
    wide = 96 if task.state.stretch else 64 / 60 * 80
    x, _, width, _ = (float(value) for value in found.pred_boxes[0, query])
    assert best.box.xmin == pytest.approx(np.clip((x - width / 2) * 96 * 80 / wide, 0, 80), abs=0.6)
    task.contract.output.validate_python(answers[0])
    assert set(task.score(answers, ROWS[:2])) == {"map_50", "map"}


SLOW = [("yolos", "onnxruntime"), *itertools.product(("detr", "rt_detr"), ("openvino", "onnxruntime"))]


@pytest.mark.parametrize(
    ("kind", "engine"), [("yolos", "openvino"), *(pytest.param(*one, marks=pytest.mark.slow) for one in SLOW)]
)
def test_exported_detectors_answer_alike(kind: str, engine: str, tmp_path: Path) -> None:
    model = _model(checkpoints.detector(tmp_path / "hub", kind))
    task = _task(model)
    _same_answers(task, task.architecture(model), engine, tmp_path / "export")


def _same_answers(task: ObjectDetection, architecture: Architecture, engine: str, folder: Path) -> None:
    folder.mkdir()
    network = build(architecture, pretrained=True).eval()
    plugins.load("bigray.engines", engine).ENGINE.export(program(task, network), folder)
    batch = task.encode(ROWS[:3])  # another number of rows than it was exported with
    found = load_session(task, architecture, engine, folder).run(batch)
    with torch.no_grad():
        expected = task.forward(network, _tensors(batch))
    for name in task.outputs:
        assert np.allclose(found[name], expected[name].numpy(), atol=1e-3)
    answers = Predictor(task, load_session(task, architecture, engine, folder)).predict(ROWS[:1], ANY)
    assert 0 < len(answers[0]) <= task.state.max_objects


def test_it_learns(folder: Path) -> None:
    task = _task(_model(folder))
    torch.manual_seed(0)
    network = build(task.architecture(_model(folder)), pretrained=True).train()
    batch = _tensors(task.encode(ROWS))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = task.loss(task.forward(network, batch), batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert np.mean(losses[-3:]) < 0.75 * losses[0]
    unused = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    # several workers would wait for gradients that never come; of YOLOS this one has to be frozen then
    assert unused <= {"vit.encoder.interpolation.mid_position_embeddings"}
    with torch.no_grad():
        outputs = task.forward(network, batch)
        taught = task.forward(network.eval(), batch)
        assert torch.isfinite(task.distance(outputs, taught, batch))
    empty = _tensors(task.encode([{**ROWS[0], "boxes": [], "labels": []}]))
    assert torch.isfinite(task.loss(task.forward(network.train(), empty), empty))


def test_the_input_is_what_the_checkpoint_wants(tmp_path: Path) -> None:
    folder = checkpoints.detector(tmp_path / "hub", "rt_detr")
    task = _task(Model(source="transformers", name=str(folder)))
    assert (task.state.frame, task.state.stretch) == ((64, 64), True)
    assert (task.state.mean, task.state.std) == ((0, 0, 0), (1, 1, 1))
    batch = task.encode(ROWS[:1])
    assert batch["pixel_values"].shape == (1, 3, 64, 64)
    assert np.allclose(batch["boxes"][0], np.array(ROWS[0]["boxes"]) * [0.8, 64 / 60, 0.8, 64 / 60])
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({"size": {"shortest_edge": 96, "longest_edge": 200}, "do_normalize": True}))
    task = _task(Model(source="transformers", name=str(folder)))
    assert (task.state.frame, task.state.stretch) == ((96, 128), False)
    assert task.state.mean == (0.485, 0.456, 0.406)


def test_published_labels_stay_when_they_fit() -> None:
    model = Model(source="torchvision", name=SSD, weights="DEFAULT")
    task = TASK.prepare(Data(train="x"), model, [{**ROWS[0], "labels": ["cat", "dog"]}])
    assert len(task.state.labels) == 90
    assert task.architecture(model).options["num_classes"] == 91
    assert task.state.labels[16] == "cat"


def test_torchvisions_detector_answers_as_torchvision_does(tmp_path: Path) -> None:
    from torchvision import models

    torch.manual_seed(0)
    theirs = models.get_model(SSD, weights=None, weights_backbone=None, num_classes=3).eval()
    theirs.score_thresh, theirs.nms_thresh = 0.0, 0.5
    for parameter in theirs.parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)  # as they come all scores are about the same
    torch.save(theirs.state_dict(), tmp_path / "own.pt")
    model = Model(source="torchvision", name=SSD, weights=str(tmp_path / "own.pt"))
    task = _task(model)
    assert (task.state.labels, task.state.frame, task.state.stretch) == (("blue", "red"), (320, 320), True)
    architecture = Architecture.model_validate_json(task.architecture(model).model_dump_json())
    network = build(architecture, pretrained=True).eval()
    batch = task.encode(ROWS[:2])
    with torch.no_grad():
        outputs = task.forward(network, _tensors(batch))
        pixels = torch.from_numpy(batch["pixel_values"][:1]) * 0.5 + 0.5  # they normalise by themselves
        (expected,) = theirs([pixels[0]])
    found = task.decode({name: value.numpy() for name, value in outputs.items()}, batch, ANY)[0]
    assert [one.score for one in found[:20]] == pytest.approx(expected["scores"][:20].tolist(), abs=1e-4)
    assert [one.label for one in found[:20]] == [("", "blue", "red")[int(k)] for k in expected["labels"][:20]]
    box = expected["boxes"][0].tolist()
    assert [found[0].box.xmin * 4, found[0].box.ymax * 320 / 60] == pytest.approx([box[0], box[3]], abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_torchvisions_detectors_are_exported(engine: str, tmp_path: Path) -> None:
    from torchvision import models

    torch.manual_seed(0)
    weights = tmp_path / "own.pt"
    torch.save(models.get_model(SSD, weights=None, weights_backbone=None, num_classes=3).state_dict(), weights)
    model = Model(source="torchvision", name=SSD, weights=str(weights), input={"image_size": 96})
    task = _task(model)
    _same_answers(task, task.architecture(model), engine, tmp_path / "export")


@pytest.mark.parametrize("name", ["fcos_resnet50_fpn", "retinanet_resnet50_fpn"])
def test_torchvisions_large_detectors_answer_as_torchvision_does(name: str) -> None:
    from torchvision import models

    from bigray.models._anchors import OneStage

    torch.manual_seed(0)
    theirs = models.get_model(name, weights=None, weights_backbone=None, num_classes=3, min_size=96, max_size=96).eval()
    theirs.score_thresh, theirs.nms_thresh = 0.0, 1.0
    pixels = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        (expected,) = theirs(list(pixels))
        scores, corners = OneStage(theirs).eval()(theirs.transform(list(pixels))[0].tensors)
    known = expected["labels"] > 0
    assert float(scores.max()) == pytest.approx(float(expected["scores"][known].max()), abs=1e-5)
    box, label = divmod(int(scores[0].argmax()), scores.shape[-1])
    best = int(expected["scores"][known].argmax())
    assert label + 1 == int(expected["labels"][known][best])
    assert torch.allclose((corners[0, box] * 96).clamp(0, 96), expected["boxes"][known][best], atol=1e-2)


def test_what_does_not_fit_is_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="in the middle"):
        _task(Model(source="torchvision", name="fasterrcnn_mobilenet_v3_large_320_fpn", weights="DEFAULT"))
    with pytest.raises(RecipeError, match="is not known"):
        _task(Model(source="torchvision", name="resnet18"))
    model = Model(source="torchvision", name=SSD)
    with pytest.raises(RecipeError, match=r"model\.weights"):
        _task(model).architecture(model)
    from torchvision import models

    network = models.get_model(SSD, weights=None, weights_backbone=None, num_classes=5)
    torch.save(network.state_dict(), tmp_path / "five.pt")
    model = Model(source="torchvision", name=SSD, weights=str(tmp_path / "five.pt"))
    task = _task(model)
    with pytest.raises(ModelNotFound, match="3 classes"):
        build(task.architecture(model), pretrained=True)
    with pytest.raises(RecipeError, match=r"train\.epochs"):
        task.forward(build(task.architecture(model), pretrained=False).train(), _tensors(task.encode(ROWS[:1])))
    wrong = checkpoints.wav2vec2(tmp_path / "speech")
    with pytest.raises(RecipeError, match="'wav2vec2'"):
        _task(Model(source="transformers", name=str(wrong)))
