"""Speaker recognition: windows of recordings, features, state, export, pretrained encoders, and that it can learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigray import plugins
from bigray.errors import DataError, InvalidInput, RecipeError
from bigray.models.base import build
from bigray.predictor import program
from bigray.recipe import Data, Model
from bigray.tasks._speech import encode_wav
from bigray.tasks.speaker_recognition import MAX_WINDOWS, TASK, SpeakerRecognition, cut

RATE = 8_000
INPUT = {"sample_rate": RATE, "mel_bands": 32, "window_s": 0.5}
SMALL = Model(options={"width": 16, "depth": 1, "embedding": 8}, input=INPUT)
GE2E = Model(name="rnn", options={"hidden": 24, "embedding": 16, "depth": 2})
LSTM = Model(name="rnn", options={"hidden": 32, "embedding": 16, "depth": 2}, input=INPUT | {"spectrum": "log"})
ROWS = [{"speaker": name} for name in ("ann", "bob", "cid", "ann", "bob", "cid")]


def _task(model: Model = SMALL) -> SpeakerRecognition:
    return TASK.prepare(Data(train="unused"), model, ROWS)


def _network(task: SpeakerRecognition) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(task.architecture(SMALL), pretrained=False).eval()


def _tensors(batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def _voice(pitch: float, seconds: float, seed: int) -> np.ndarray:
    """A hum with the formants of its pitch, coming and going."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    drift = pitch * (1 + 0.02 * np.sin(2 * np.pi * rng.uniform(1, 4) * time))
    parts = [
        np.sin(2 * np.pi * k * np.cumsum(drift) / RATE) * np.exp(-(((k * pitch - 6 * pitch) / 900) ** 2))
        for k in range(1, 15)
    ]
    sound = 0.1 * sum(parts) * (1.2 + np.sin(2 * np.pi * rng.uniform(2, 5) * time)) + 0.01 * rng.standard_normal(
        len(time)
    )
    return sound.astype(np.float32)


def test_short_recordings_are_repeated_and_long_ones_cut() -> None:
    assert cut(np.arange(3.0), 8)[0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert [piece.tolist() for piece in cut(np.ones(8), 8)] == [[1.0] * 8]
    pieces = cut(np.arange(1.0, 21.0), 8)
    assert [piece[0] for piece in pieces] == [1, 5, 9, 13]
    assert pieces[-1][-1] == 20  # the end is heard
    assert np.array_equal(np.unique(np.concatenate(pieces)), np.arange(1.0, 21.0))


def test_windows_are_bounded_and_pauses_left_out() -> None:
    assert len(cut(np.ones(1_000_000), 800)) == MAX_WINDOWS
    sound = np.concatenate([np.ones(800), np.full(1600, 1e-3), np.ones(800)])
    pieces = cut(sound, 800)
    assert 2 <= len(pieces) < 7
    assert all(np.abs(piece).max() == 1 for piece in pieces)
    assert len(cut(np.zeros(2400), 800)) == 5  # silence throughout has no loud part to prefer


def test_encode_says_which_window_is_whose() -> None:
    task = _task()
    rows = [{"audio": (_voice(120, seconds, 1), RATE)} for seconds in (0.3, 1.0, 0.5)]
    batch = task.encode(rows)
    assert batch["features"].shape == (5, 50, 32)
    assert batch["features"].dtype == np.float32
    assert batch["row"].tolist() == [0, 1, 1, 1, 2]
    labelled = task.encode([row | {"speaker": name} for row, name in zip(rows, ("cid", "ann", "bob"), strict=True)])
    assert labelled["target"].tolist() == [2, 0, 0, 0, 1]
    assert "target" not in task.encode([rows[0] | {"speaker": "a stranger"}])


def test_an_answer_does_not_depend_on_the_batch_nor_on_loudness() -> None:
    task = _task()
    network = _network(task)
    rows = [{"audio": (_voice(pitch, seconds, 1), RATE)} for pitch, seconds in ((120, 1.3), (200, 0.4), (90, 0.5))]

    def embeddings(some: list[dict[str, Any]]) -> np.ndarray:
        batch = task.encode(some)
        with torch.no_grad():
            outputs = task.forward(network, _tensors(batch))
        assert set(outputs) == {"vector"}
        answers = task.decode({"vector": outputs["vector"].numpy()}, batch)
        return np.array([answer.embedding for answer in answers])

    together = embeddings(rows)
    assert together.shape == (3, 8)
    assert np.allclose(together, np.concatenate([embeddings([row]) for row in rows]), atol=1e-5)
    louder = [{"audio": (row["audio"][0] * np.float32(0.1), RATE)} for row in rows]
    assert np.allclose(together, embeddings(louder), atol=1e-3)


def test_changes_of_training_reach_the_features() -> None:
    task = _task()
    (row,) = task.example(1)
    plain = task.encode([row])["features"]
    masked = task.encode([row | {"mask_spectrum": {"seed": 1, "bands": 3, "band_width": 20}}])["features"]
    assert (masked == 0).sum() > (plain == 0).sum()
    coloured = task.encode([row | {"change_voice": {"stretch": 1.0, "colour_db": [3.0, 0.0, 0.0, 0.0]}}])["features"]
    assert not np.allclose(coloured, plain)


def test_bad_audio_and_wrong_settings_are_refused() -> None:
    with pytest.raises(InvalidInput):
        _task().encode([{"audio": b""}])
    for settings in ({"sample_rate": 100}, {"window_s": 99.0}, {"mel_band": 64}):
        with pytest.raises(RecipeError, match=r"model\.input"):
            _task(Model(input=settings))
    with pytest.raises(RecipeError, match="cnn"):
        _task().architecture(Model(name="detector"))
    with pytest.raises(DataError, match="speaker"):
        TASK.prepare(Data(train="x"), SMALL, ROWS[:1])


def test_state_comes_back(tmp_path: Path) -> None:
    task = TASK(_task().state.model_copy(update={"thresholds": ((0.01, 0.5),)}))
    task.save(tmp_path)
    assert TASK.load(tmp_path).state == task.state


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_exported_networks_give_the_same_embeddings(engine: str, tmp_path: Path) -> None:
    task = _task()
    network = _network(task)
    runtime = plugins.load("bigray.engines", engine).ENGINE
    runtime.export(program(task, network), tmp_path)
    session = runtime.load(tmp_path)
    batch = task.encode([{"audio": (_voice(150, seconds, 2), RATE)} for seconds in (1.4, 0.5)])
    with torch.no_grad():
        expected = task.forward(network, _tensors(batch))["vector"].numpy()
    assert np.allclose(session.run(batch)["vector"], expected, atol=1e-4)


def test_pruning_keeps_the_embedding(tmp_path: Path) -> None:
    from bigray.compress.base import Samples
    from bigray.compress.methods.prune_structured import METHOD, Config

    task = _task()
    network = _network(task)
    size = sum(parameter.numel() for parameter in network.parameters())
    METHOD.prune(program(task, network), Config(ratio=0.5, round_to=4), task.keep(network), Samples(task, [], []))
    assert sum(parameter.numel() for parameter in network.parameters()) < 0.7 * size
    network.train()
    batch = _tensors(task.encode([{"audio": (_voice(150, 0.5, 2), RATE), "speaker": name} for name in ("ann", "bob")]))
    outputs = task.forward(network, batch)
    assert outputs["vector"].shape == (2, 8)
    assert outputs["logits"].shape == (2, 3)
    task.loss(outputs, batch).backward()


@pytest.mark.parametrize("family", ["Wav2Vec2", "WavLM", "UniSpeechSat"])
def test_a_pretrained_encoder_from_a_local_folder(family: str, tmp_path: Path) -> None:
    import transformers

    config = getattr(transformers, f"{family}Config")(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=[8, 8], conv_stride=[8, 5],
        conv_kernel=[10, 8], num_feat_extract_layers=2, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
        tdnn_dim=[8, 8], tdnn_kernel=[3, 1], tdnn_dilation=[1, 1], xvector_output_dim=12, mask_time_prob=0.0,
    )  # fmt: skip
    theirs = getattr(transformers, f"{family}ForXVector")(config).eval()
    theirs.save_pretrained(tmp_path / "hub")
    model = Model(source="transformers", name=str(tmp_path / "hub"), input={"sample_rate": RATE, "window_s": 0.5})
    task = _task(model)
    assert task.model_type == "transformer"
    network = build(task.architecture(model), pretrained=True).eval()
    batch = _tensors(task.encode([{"audio": (_voice(150, 0.5, 2), RATE), "speaker": name} for name in ("ann", "cid")]))
    assert batch["features"].shape == (2, 4000)
    with torch.no_grad():
        embedding = task.forward(network, batch)["vector"]
        assert torch.allclose(embedding, theirs(batch["features"]).embeddings, atol=1e-5)
    assert embedding.shape == (2, 12)
    outputs = task.forward(network.train(), batch)
    assert outputs["logits"].shape == (2, 3)
    task.loss(outputs, batch).backward()
    assert network.objective.weight.grad is not None
    assert all(network.get_submodule(name) is not None for name in task.keep(network))


def test_an_encoder_with_weights_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Theirs(torch.nn.Module):
        """As the package has it: https://github.com/resemble-ai/Resemblyzer."""

        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(40, 24, 2, batch_first=True)
            self.linear = torch.nn.Linear(24, 16)

        def forward(self, mels: torch.Tensor) -> torch.Tensor:
            _, (hidden, _) = self.lstm(mels)
            raw = torch.relu(self.linear(hidden[-1]))
            return raw / torch.norm(raw, dim=1, keepdim=True)

    torch.manual_seed(0)
    theirs = Theirs()
    (tmp_path / "theirvoices").mkdir()
    (tmp_path / "theirvoices" / "__init__.py").touch()
    torch.save({"step": 1, "model_state": theirs.state_dict()}, tmp_path / "theirvoices" / "pretrained.pt")
    monkeypatch.syspath_prepend(tmp_path)
    model = GE2E.model_copy(update={"weights": "package:theirvoices/pretrained.pt"})
    task = _task(model)
    assert (task.state.mel_bands, task.state.window_s, task.state.spectrum) == (40, 1.6, "power")
    network = build(task.architecture(model), pretrained=True).eval()
    batch = _tensors(task.encode(task.example(2)))
    assert batch["features"].shape == (2, 160, 40)
    with torch.no_grad():
        vector = task.forward(network, batch)["vector"]
        assert torch.allclose(vector, theirs(batch["features"]), atol=1e-6)
    outputs = task.forward(network.train(), batch | {"target": torch.tensor([0, 2])})
    task.loss(outputs, {"target": torch.tensor([0, 2])}).backward()
    assert network.lstm.weight_ih_l0.grad is not None
    assert all(network.get_submodule(name) is not None for name in task.keep(network))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_exported_lstm_gives_the_same_embeddings_for_any_batch(engine: str, tmp_path: Path) -> None:
    task = _task(GE2E)
    torch.manual_seed(0)
    network = build(task.architecture(GE2E), pretrained=False).eval()
    runtime = plugins.load("bigray.engines", engine).ENGINE
    runtime.export(program(task, network), tmp_path)
    session = runtime.load(tmp_path)
    batch = task.encode(task.example(3))
    with torch.no_grad():
        expected = task.forward(network, _tensors(batch))["vector"].numpy()
    assert np.allclose(session.run(batch)["vector"], expected, atol=1e-4)


def test_mel_power_does_not_depend_on_loudness() -> None:
    task = _task(GE2E)
    sound = _voice(150, 2.0, 2)
    features = task.encode([{"audio": (sound, RATE)}])["features"]
    assert np.allclose(task.encode([{"audio": (sound * 0.01, RATE)}])["features"], features, rtol=1e-3, atol=1e-6)
    coloured = {"change_voice": {"stretch": 1.0, "colour_db": [10.0]}}
    louder = task.encode([{"audio": (sound, RATE)} | coloured])["features"] / features
    assert louder[..., 0].mean() == pytest.approx(10.0, rel=0.1)  # 10 dB is ten times the power
    assert np.isfinite(task.encode([{"audio": (np.zeros(800, np.float32), RATE)}])["features"]).all()
    with pytest.raises(RecipeError, match="spectrum"):
        _task(Model(name="rnn", input={"spectrum": "cepstrum"}))


@pytest.mark.parametrize("model", [SMALL, LSTM], ids=["cnn", "rnn"])
def test_it_learns_to_tell_unseen_voices_apart(model: Model) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pitches = np.geomspace(80, 320, 12)
    rows = [
        {"audio": (_voice(pitch, 0.5, 100 * number + take), RATE), "speaker": f"v{number}"}
        for number, pitch in enumerate(pitches)
        for take in range(6)
    ]
    known = [row for row in rows if int(row["speaker"][1:]) % 3]
    unseen = [row for row in rows if int(row["speaker"][1:]) % 3 == 0]
    task = TASK.prepare(Data(train="x"), model, known)
    network = build(task.architecture(model), pretrained=False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    batch = _tensors(task.encode(known))
    for _ in range(40):
        chosen = torch.from_numpy(rng.permutation(len(known))[:32])
        part = {name: value[chosen] for name, value in batch.items()}
        optimizer.zero_grad()
        task.loss(task.forward(network, part), part).backward()
        optimizer.step()
    network.eval()
    held = task.encode(unseen)
    with torch.no_grad():
        outputs = {"vector": task.forward(network, _tensors(held))["vector"].numpy()}
    scores = task.score(task.decode(outputs, held), unseen)
    assert scores["eer"] < 0.15
    assert scores["rank_1"] > 0.85


def test_wav_files_are_read_like_samples() -> None:
    task = _task()
    sound = 0.3 * _voice(130, 0.5, 5)  # a file cuts off what is over full scale
    one = task.encode([{"audio": encode_wav(sound, RATE)}])["features"]
    assert np.allclose(one, task.encode([{"audio": (sound, RATE)}])["features"], atol=0.02)
