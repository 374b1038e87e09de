"""Shorter windows: what is left hears as the whole did, answers long recordings in more windows, and is known to transformers."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigray import artifact
from bigray import recipe as recipes
from bigray.artifact import Step
from bigray.compress import candidate
from bigray.compress.base import ConversionError, Samples
from bigray.compress.candidate import Job, Workbench, same_rows
from bigray.compress.methods.shorten_window import METHOD, Config
from bigray.compress.plan import Plan, adapted, carry_out, step
from bigray.engines import torch_eager as eager
from bigray.models.base import build
from bigray.predictor import Predictor, load_session, program
from bigray.recipe import Data, Model
from bigray.recovery import alone
from bigray.tasks._speech import encode_wav
from bigray.tasks.automatic_speech_recognition import TASK
from tests import checkpoints
from tests.networks import task as without_window

DATA = Data(train="unused")
STEP = step("shorten_window", {"share": 0.5})


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    model = Model(source="transformers", name=str(checkpoints.whisper(tmp_path_factory.mktemp("whisper"))))
    task = TASK.prepare(DATA, model, [])
    architecture = task.architecture(model)
    return task, architecture, build(architecture, pretrained=True).eval()


def _sound(seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16_000)) / 16_000
    return (0.2 * np.sin(2 * np.pi * rng.uniform(200, 2000) * time) + 0.05 * rng.standard_normal(len(time))).astype(
        np.float32
    )


def _row(seconds: float, seed: int = 0, said: str | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {"audio": encode_wav(_sound(seconds, seed), 16_000)}
    return row if said is None else {**row, "text": said}


def _made(whisper: tuple[Any, Any, Any], engine: str, folder: Path, *steps: Step) -> Predictor:
    task, architecture, network = whisper
    plan = Plan(engine=engine, steps=(STEP, *steps))
    folder.mkdir()
    carry_out(plan, task, copy.deepcopy(network), [_row(0.5, seed) for seed in range(4)], folder)
    own = adapted(plan, task)
    return Predictor(own, load_session(own, architecture, engine, folder))


@pytest.mark.parametrize("engine", ["torch_eager", "onnxruntime", "openvino"])
def test_engines_agree_on_the_shorter_window(engine: str, whisper: Any, tmp_path: Path) -> None:
    task, _, network = whisper
    small = _made(whisper, engine, tmp_path / engine)
    assert small.task.positions == 48  # a half of 100, in eights
    assert (task.state.max_target, small.task.state.max_target) == (12, 6)
    cut = copy.deepcopy(network)
    METHOD.prune(program(task, cut), Config(share=0.5), [], Samples(task, [], []))
    batch = small.task.encode([_row(0.6, 3)])
    assert batch["input_features"].shape[-1] == 96
    with torch.no_grad():
        wanted = small.task.graphs[""].forward(cut, {"input_features": torch.from_numpy(batch["input_features"])})
    found = small.session.run({"input_features": batch["input_features"]})
    assert np.abs(found["logits"] - wanted["logits"].numpy()).max() < 1e-3
    small.session.close()


def test_a_recording_longer_than_the_window_is_heard_to_its_end(whisper: Any, tmp_path: Path) -> None:
    small = _made(whisper, "torch_eager", tmp_path / "small")
    sound = np.concatenate([_sound(0.7, 1), np.zeros(4_800, np.float32), _sound(0.7, 2)])
    whole = {"audio": encode_wav(sound, 16_000)}
    pieces = list(small.task.split(whole))
    assert len(pieces) == 2
    apart = [small.predict([{"audio": piece["audio"]}])[0].text for piece in pieces]
    assert small.predict([whole])[0].text == " ".join(apart)


def test_speed_is_measured_on_the_same_sound(whisper: Any) -> None:
    task, *_ = whisper
    small = adapted(Plan(engine="openvino", steps=(STEP,)), task)
    rows = [_row(1.5, seed) for seed in range(4)]
    dense, other = same_rows(task, small, rows, 2)
    assert len(dense["input_features"]) == 2
    assert len(other["input_features"]) >= 4  # windows of 0.96 s
    assert other["seconds"].sum() >= dense["seconds"].sum() - 0.1
    alike = same_rows(task, task, rows, 2)
    assert alike[0] is alike[1]


def test_a_teacher_of_the_whole_window_hears_silence_after_the_shorter_one(whisper: Any) -> None:
    task, _, network = whisper
    small = task.with_positions(48)
    row = _row(0.6, 5, "a word")
    short, whole = small.encode([row]), task.encode([row])
    inputs = [{name: torch.from_numpy(batch[name]) for name in task.inputs} for batch in (short, whole)]
    with torch.no_grad():
        taught, known = (task.forward(network, one)["logits"] for one in inputs)
    assert torch.allclose(taught, known, atol=1e-5)
    assert small.fits(row)
    assert not small.fits(_row(1.6))


def test_stock_transformers_reads_the_shorter_network(whisper: Any, tmp_path: Path) -> None:
    from transformers import WhisperForConditionalGeneration

    small = _made(whisper, "torch_eager", tmp_path / "small")
    stock = WhisperForConditionalGeneration.from_pretrained(tmp_path / "small").eval()
    assert stock.config.max_source_positions == 48
    batch = small.task.encode([_row(0.6, 7)])
    features = torch.from_numpy(batch["input_features"])
    first = torch.tensor([small.task.state.prompt])
    with torch.no_grad():
        theirs = stock(input_features=features, decoder_input_ids=first).logits[:, -1]
    ours = small.session.run({"input_features": batch["input_features"]})["logits"]
    assert np.abs(ours - theirs.numpy()).max() < 1e-4


def test_it_is_tried_and_verified_with_its_own_window(whisper: Any, tmp_path: Path) -> None:
    task, architecture, network = whisper
    with artifact.create(tmp_path / "dense") as draft:
        task.save(draft.task_dir)
        eager.ENGINE.export(program(task, network), draft.model_dir)
        draft.commit(
            artifact.Manifest(
                name="heard", created=artifact.now(), task=task.name, architecture=architecture, engine="torch_eager"
            )
        )
    rows = [_row(0.5 + seed / 2, seed, "a word") for seed in range(4)]
    recipe = recipes.parse(
        "{name: heard, task: automatic_speech_recognition, data: {train: rows}, compress: {recover_epochs: 1}}"
    )
    job = Job(recipe, tmp_path / "dense", tmp_path, rows, rows[:1], rows, 1.0, alone)
    plan = Plan(engine="openvino", steps=(STEP, step("prune_magnitude", {"sparsity": 0.5})))
    heard: list[int] = []

    def recover(task: Any, network: Any, teacher: Any, rows: Any, recipe: Any, glance: Any) -> None:
        heard.append(len(rows))
        alone(task, network, teacher, rows, recipe, glance)

    trial = Workbench(replace(job, recover=recover)).run(plan)
    assert trial.status == "ok", trial.reason
    assert heard == [2]  # of 0.5 and 1 s; the others are longer than a window of 0.96 s
    before = candidate.dense_answers(recipe, tmp_path / "dense", rows)
    verified = candidate.verify(recipe, tmp_path / "dense", tmp_path / plan.key / "model", plan, rows, before)
    assert verified.chosen.metrics["wer"].value == pytest.approx(trial.variant.metrics["wer"].value)
    assert verified.chosen.memory_bytes > 1e7


def test_it_goes_with_quantization(whisper: Any, tmp_path: Path) -> None:
    small = _made(whisper, "openvino", tmp_path / "small", step("quantize_dynamic", {}))
    assert small.predict([_row(0.5, 1), _row(1.7, 2)])


def test_networks_without_such_a_window_are_refused(whisper: Any) -> None:
    task, _, network = whisper
    assert METHOD.suits(task, "openvino") is None
    assert "filled up" in (METHOD.suits(without_window(), "openvino") or "")
    with pytest.raises(ConversionError, match="keeps all 100"):
        METHOD.prune(program(task, copy.deepcopy(network)), Config(share=1.0), [], Samples(task, [], []))
