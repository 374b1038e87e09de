"""Face recognition: pixels, state, networks, the detector and alignment, export, and that it can learn."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bigray import plugins
from bigray.errors import InvalidInput, RecipeError
from bigray.models.base import build
from bigray.predictor import program
from bigray.recipe import Data, Model
from bigray.tasks import _faces
from bigray.tasks.face_recognition import TASK, FaceRecognition

SMALL = Model(options={"width": 8, "stages": 2, "embedding": 8}, input={"image_size": 24})
ROWS = [{"identity": name} for name in ("ann", "bob", "ann", "bob")]


def _task(model: Model = SMALL) -> FaceRecognition:
    return TASK.prepare(Data(train="unused"), model, ROWS)


def _pgm(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PPM")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def people() -> list[dict[str, object]]:
    return plugins.load("bigray.data.catalogue", "faces").ENTRY.rows()


def test_grey_pgm_files_become_pixels_and_targets() -> None:
    task = _task()
    grey = np.random.default_rng(0).integers(0, 256, (112, 92), dtype=np.uint8)
    batch = task.encode([{"image": _pgm(grey), "identity": "bob"}])
    assert batch["pixel_values"].shape == (1, 3, 24, 24)
    assert batch["target"].tolist() == [1]
    spread = batch["pixel_values"] * np.array(task.state.std)[:, None, None] + np.array(task.state.mean)[:, None, None]
    assert np.allclose(spread[0, 0], spread[0, 2], atol=1e-6)  # grey: the same in every colour


def test_small_images_keep_their_size(people: list[dict[str, object]]) -> None:
    assert TASK.prepare(Data(train="x"), Model(), people[:30]).state.image_size == 48
    assert TASK.prepare(Data(train="x"), Model(), ROWS).state.image_size == 112
    with pytest.raises(RecipeError, match="image_size"):
        _task(Model(input={"image_size": 5000}))


@pytest.mark.parametrize("side", [24, 48, 50, 112, 200])
def test_the_network_takes_any_size(side: int) -> None:
    task = _task(Model(options=SMALL.options, input={"image_size": side}))
    network = build(task.architecture(Model(options=SMALL.options)), pretrained=False).eval()
    with torch.no_grad():
        outputs = task.forward(network, {"pixel_values": torch.zeros(2, 3, side, side)})
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {"vector": (2, 8)}
    assert set(task.forward(network.train(), {"pixel_values": torch.randn(2, 3, side, side)})) == {
        "vector",
        "logits",
    }
    assert task.keep(network) == ["head", "classes"]


def test_a_torchvision_network_gets_an_embedding(tmp_path: Path) -> None:
    from torchvision import models

    torch.save(models.mobilenet_v2(weights=None).state_dict(), tmp_path / "imagenet.pth")
    model = Model(source="torchvision", name="mobilenet_v2", weights=str(tmp_path / "imagenet.pth"))
    task = _task(model)
    network = build(task.architecture(model), pretrained=True)
    assert task.keep(network) == ["classifier.1", "classes"]
    outputs = task.forward(network.train(), {"pixel_values": torch.randn(2, 3, 32, 32)})
    assert outputs["vector"].shape == (2, 128)
    assert outputs["logits"].shape == (2, 2)
    stored = torch.load(tmp_path / "imagenet.pth", weights_only=True)
    assert torch.equal(network.state_dict()["features.0.0.weight"], stored["features.0.0.weight"])


def test_an_exported_network_gives_the_same_embeddings(tmp_path: Path) -> None:
    task = _task()
    torch.manual_seed(0)
    network = build(task.architecture(SMALL), pretrained=False).eval()
    runtime = plugins.load("bigray.engines", "openvino").ENGINE
    runtime.export(program(task, network), tmp_path)
    batch = task.encode(task.example(3))
    with torch.no_grad():
        expected = task.forward(network, {"pixel_values": torch.from_numpy(batch["pixel_values"])})["vector"].numpy()
    assert np.allclose(runtime.load(tmp_path).run(batch)["vector"], expected, atol=1e-4)


def test_alignment_turns_scales_and_moves() -> None:
    image = np.zeros((200, 300, 3), dtype=np.uint8)
    angle, scale = np.deg2rad(30), 0.8
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = _faces.TEMPLATE @ turn.T + [120, 20]
    for x, y in points:
        image[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2] = 255
    face = _faces.align(image, points, 112)
    assert face.shape == (112, 112, 3)
    for x, y in _faces.TEMPLATE:
        assert face[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].max() > 200
    assert (face > 100).mean() < 0.01


def _detector(path: Path, score: float) -> bytes:
    """An ONNX file with YuNet's outputs that finds one face, of 64 pixels, in the middle of a frame of 128."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, outputs = [], [], []
    for stride in _faces.STRIDES:
        places, columns = (128 // stride) ** 2, 128 // stride
        middle = (columns // 2) * columns + columns // 2
        centre = (columns // 2) * np.ones(2)
        for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            values = np.zeros((1, places, width), dtype=np.float32)
            if stride == 16 and kind in ("cls", "obj"):
                values[0, middle] = score
            if kind == "bbox":
                values[0, :, 2:] = np.log(64 / stride)
            if kind == "kps":
                face = (_faces.TEMPLATE - 56) / 112 * 64 + 64
                values[0, middle] = (face / stride - centre).ravel()
            name = f"{kind}_{stride}"
            weights.append(numpy_helper.from_array(values, f"{name}_value"))
            nodes.append(helper.make_node("Add", [f"{name}_value", "nothing"], [name]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(values.shape)))
    nodes.insert(0, helper.make_node("ReduceMin", ["input"], ["lowest"], keepdims=0))
    nodes.insert(1, helper.make_node("Sub", ["lowest", "lowest"], ["nothing"]))
    port = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 128, 128])
    graph = helper.make_graph(nodes, "detector", [port], outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path.read_bytes()


def test_a_face_is_found_and_brought_upright(tmp_path: Path) -> None:
    _detector(tmp_path / "found.onnx", 0.9)
    image = np.full((256, 128, 3), 50, dtype=np.uint8)
    points = _faces.find(image, (tmp_path / "found.onnx").read_bytes())
    assert points is not None
    # the frame of 128 holds the image at half its size, so everything is twice as large in the image
    assert np.allclose(points, ((_faces.TEMPLATE - 56) / 112 * 64 + 64) * 2, atol=1e-3)
    model = Model(options=SMALL.options, input={"image_size": 24, "detector": str(tmp_path / "found.onnx")})
    task = _task(model)
    (tmp_path / "task").mkdir()
    task.save(tmp_path / "task")
    again = TASK.load(tmp_path / "task")
    picture = {"image": np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)}
    assert np.array_equal(again.encode([picture])["pixel_values"], task.encode([picture])["pixel_values"])
    assert not np.allclose(again.encode([picture])["pixel_values"], _task().encode([picture])["pixel_values"])
    answers = again.decode({"vector": np.random.default_rng(0).standard_normal((8, 4))}, {})
    settled = again.settled(answers, ROWS * 2)
    assert settled.state.thresholds
    assert np.array_equal(settled.encode([picture])["pixel_values"], task.encode([picture])["pixel_values"])


def test_no_face_is_an_error_for_callers_only(tmp_path: Path) -> None:
    _detector(tmp_path / "none.onnx", 0.1)
    task = _task(Model(options=SMALL.options, input={"image_size": 24, "detector": str(tmp_path / "none.onnx")}))
    picture = {"image": np.zeros((64, 64, 3), dtype=np.uint8)}
    with pytest.raises(InvalidInput, match="No face") as error:
        task.encode([picture])
    assert error.value.code == "no_face"
    assert task.encode([picture | {"identity": "ann"}])["pixel_values"].shape == (1, 3, 24, 24)
    assert len(task.encode(task.example(2))["pixel_values"]) == 2


def test_a_file_that_is_no_detector_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    for place, problem in ((tmp_path / "text.onnx", "cannot be read"), ("nowhere.onnx", "no file")):
        with pytest.raises(RecipeError, match=problem):
            _task(Model(input={"detector": str(place)}))


def test_it_learns_to_tell_unseen_people_apart(people: list[dict[str, object]]) -> None:
    known = [row for row in people if int(str(row["identity"])[-2:]) < 30]
    unseen = [row for row in people if 30 <= int(str(row["identity"])[-2:]) < 42]
    model = Model(options={"width": 8, "stages": 3, "embedding": 32})
    task = TASK.prepare(Data(train="x"), model, known)
    torch.manual_seed(0)
    network = build(task.architecture(model), pretrained=False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    batch = {name: torch.from_numpy(array) for name, array in task.encode(known).items()}
    rng = np.random.default_rng(0)
    for _ in range(150):  # after 60 some processors come out just below the bar
        chosen = torch.from_numpy(rng.permutation(len(known))[:32])
        part = {name: value[chosen] for name, value in batch.items()}
        optimizer.zero_grad()
        task.loss(task.forward(network, part), part).backward()
        optimizer.step()
    network.eval()
    held = task.encode(unseen)
    with torch.no_grad():
        outputs = {
            "vector": task.forward(network, {"pixel_values": torch.from_numpy(held["pixel_values"])})["vector"].numpy()
        }
    scores = task.score(task.decode(outputs, held), unseen)
    assert scores["eer"] < 0.25
    assert scores["rank_1"] > 0.7
