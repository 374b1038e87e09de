"""Whisper and CTC checkpoints of transformers: the features and answers of transformers itself, through every engine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigray import plugins, predictor
from bigray.errors import DataError, ModelNotFound, RecipeError
from bigray.models.base import build
from bigray.recipe import Data, Model
from bigray.schemas import TranscriptionParameters
from bigray.tasks import _whisper
from bigray.tasks._speech import encode_wav
from bigray.tasks._whisper import Whisper
from bigray.tasks.automatic_speech_recognition import TASK
from tests import checkpoints

DATA = Data(train="unused")
ENGINES = ("torch_eager", "onnxruntime", "openvino")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.wav2vec2(tmp_path_factory.mktemp("wav2vec2"), blank=2)


def _load(folder: Path, **settings: Any) -> tuple[Any, Any]:
    model = Model(source="transformers", name=str(folder), input=settings)
    task = TASK.prepare(DATA, model, [])
    return task, build(task.architecture(model), pretrained=True).eval()


def _sound(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16_000)) / 16_000
    tones = sum(np.sin(2 * np.pi * rng.uniform(100, 3000) * time * (1 + 0.1 * np.sin(time * 9))) for _ in range(4))
    return (0.1 * tones + 0.02 * rng.standard_normal(len(time))).astype(np.float32)


def _session(task: Any, network: Any, engine: str, folder: Path) -> Any:
    runtime = plugins.load("bigray.engines", engine).ENGINE
    runtime.export(predictor.program(task, network), folder)
    return runtime.load(folder, program=lambda: predictor.program(task, network))


@pytest.mark.parametrize("seconds", [0.01, 1.0, 30.0, 31.0])
@pytest.mark.parametrize("bands", [80, 128])
def test_features_are_those_of_transformers(seconds: float, bands: int) -> None:
    from transformers import WhisperFeatureExtractor

    sound = _sound(seconds)
    theirs = WhisperFeatureExtractor(feature_size=bands)(sound, sampling_rate=16_000, return_tensors="np")
    ours = _whisper.log_mel(sound, 3000, bands)
    assert ours.dtype == np.float32
    assert np.abs(ours - theirs["input_features"][0]).max() < 1e-4


@pytest.mark.parametrize("engine", ENGINES)
def test_whisper_writes_what_transformers_writes(engine: str, whisper: Path, tmp_path: Path) -> None:
    task, network = _load(whisper)
    assert isinstance(task, Whisper)
    rows = [{"audio": (_sound(1.5, seed), 16_000)} for seed in range(3)]
    batch = task.encode(rows)
    state = task.state
    theirs = network.generate(
        torch.from_numpy(batch["input_features"]),
        decoder_input_ids=torch.tensor([state.prompt] * 3),
        max_new_tokens=state.max_target,
        do_sample=False,
        num_beams=1,
        suppress_tokens=[*state.banned, *range(state.end + 1, state.vocabulary)],
        begin_suppress_tokens=list(state.banned_first),
    ).numpy()
    session = _session(task, network, engine, tmp_path)
    ours = task.infer(session.run, batch)["tokens"]
    for mine, other in zip(ours.tolist(), theirs.tolist(), strict=True):
        wanted = [token for token in other if token < state.end]
        assert len(wanted) > 3
        assert [token for token in mine if token < state.end] == wanted
    answers = predictor.Predictor(task, session).predict(rows)
    assert all(answer.text for answer in answers)
    assert "torch" not in json.dumps([answer.text for answer in answers])
    session.close()


def test_whisper_hears_long_recordings_in_windows(whisper: Path, tmp_path: Path) -> None:
    task, network = _load(whisper)
    predict = predictor.Predictor(task, _session(task, network, "torch_eager", tmp_path)).predict
    assert task.window_s == 2.0
    sound = np.concatenate([_sound(1.6, 1), np.zeros(4_800, np.float32), _sound(1.6, 2), np.zeros(4_800, np.float32)])
    (answer,) = predict([{"audio": encode_wav(sound, 16_000)}], TranscriptionParameters(return_timestamps=True))
    pieces = list(task.split({"audio": (sound, 16_000)}))
    assert [piece["overlap_s"] for piece in pieces] == [0.0, 0.0]
    apart = [predict([{"audio": piece["audio"]}])[0].text for piece in pieces]
    assert answer.text == " ".join(apart)
    assert [chunk.timestamp[0] for chunk in answer.chunks] == [round(piece["begin_s"], 3) for piece in pieces]


def test_silence_has_no_words(whisper: Path, tmp_path: Path) -> None:
    task, network = _load(whisper)
    predict = predictor.Predictor(task, _session(task, network, "torch_eager", tmp_path)).predict
    (answer,) = predict([{"audio": (np.zeros(16_000, np.float32), 16_000)}])
    assert answer.text == ""


def test_whisper_survives_saving_without_the_checkpoint(whisper: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(whisper, folder)
    task, _ = _load(folder)
    shutil.rmtree(folder)
    (tmp_path / "task").mkdir()
    task.save(tmp_path / "task")
    again = TASK.load(tmp_path / "task")
    assert isinstance(again, Whisper)
    assert again.state == task.state
    assert again.tokenizer.to_str() == task.tokenizer.to_str()


def test_whisper_learns_one_sentence(whisper: Path) -> None:
    task, network = _load(whisper)
    row = {"audio": (_sound(1.0), 16_000), "text": "press one for sales"}
    batch = {k: torch.from_numpy(v) for k, v in task.encode([row]).items()}
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-2)
    for _ in range(60):
        loss = task.loss(task.forward(network, batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
    with pytest.raises(DataError, match="2 s at most"):
        task.encode([row | {"audio": (_sound(4.0), 16_000)}])


def test_languages_are_those_of_the_checkpoint(whisper: Path, tmp_path: Path) -> None:
    many = checkpoints.whisper(tmp_path, languages=("en", "de"))
    task, _ = _load(many, language="de")
    names = [task.tokenizer.id_to_token(token) for token in task.state.prompt]
    assert names == ["<|startoftranscript|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>"]
    assert not task.state.english
    assert task.normalise("Hallo, WELT!") == "hallo welt"
    with pytest.raises(RecipeError, match="no token for 'xx'"):
        _load(many, language="xx")
    with pytest.raises(RecipeError, match="English only"):
        _load(whisper, language="de")


def test_texts_are_compared_as_whisper_does(whisper: Path) -> None:
    task, _ = _load(whisper)
    assert task.normalise("Mr. Smith's twenty-one dollars, um, don't") == "mister smith is $21 do not"


@pytest.mark.parametrize("engine", ENGINES)
def test_ctc_checkpoints_hear_samples(engine: str, wav2vec2: Path, tmp_path: Path) -> None:
    task, network = _load(wav2vec2)
    assert task.state.uppercase
    rows = [{"audio": (_sound(seconds, seed), 16_000)} for seed, seconds in enumerate([1.0, 0.4, 0.02])]
    session = _session(task, network, engine, tmp_path)
    batch = task.encode(rows)
    together = task.infer(session.run, batch)["logits"]
    for number, row in enumerate(rows):
        samples = row["audio"][0]
        values = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        alone = task.encode([row])
        logits = task.infer(session.run, alone)["logits"][0]
        if len(values) > 1000:  # shorter ones are filled up to one step
            with torch.no_grad():
                theirs = network(torch.from_numpy(values)[None]).logits[0].numpy()
            order = [2, *(n for n in range(theirs.shape[1]) if n != 2)]
            assert np.abs(logits - theirs[:, order]).max() < 1e-3
        assert len(logits) == task._steps(alone["lengths"][0])
        assert np.allclose(together[number, : len(logits)], logits, atol=1e-4)
    session.close()


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_ctc_checkpoints_learn(norm: str, tmp_path: Path) -> None:
    task, network = _load(checkpoints.wav2vec2(tmp_path, norm=norm))
    rows = [{"audio": (_sound(0.6 + seed, seed), 16_000), "text": text} for seed, text in enumerate(["go", "Stop it!"])]
    batch = {k: torch.from_numpy(v) for k, v in task.encode(rows).items()}
    assert "".join(task.state.characters[n - 1] for n in batch["targets"][1]) == "STOP IT"
    network.train()
    first = task.loss(task.forward(network, batch), batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(15):
        loss = task.loss(task.forward(network, batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < first


def test_other_networks_are_refused_with_a_reason(wav2vec2: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    with pytest.raises(RecipeError, match="'bert', which is no network for speech recognition"):
        _load(checkpoints.save(BertModel(config), tmp_path / "bert"))
    bare = tmp_path / "bare"
    shutil.copytree(wav2vec2, bare)
    (bare / "vocab.json").unlink()
    with pytest.raises(ModelNotFound, match="not trained to recognise speech"):
        _load(bare)
