"""Speech recognition: features and padding, CTC decoding and timestamps, scores, state, export, and that it can learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigray import metrics
from bigray.errors import DataError, InvalidInput, RecipeError
from bigray.models.base import build
from bigray.recipe import Augmentation, Data, Model, Train
from bigray.schemas import CONTRACTS, Transcript, TranscriptionParameters
from bigray.tasks._speech import encode_wav
from bigray.tasks._transcription import normalise_text
from bigray.tasks.automatic_speech_recognition import MARGIN_FRAMES, STRIDE, TASK

DATA = Data(train="unused")
SMALL = Model(options={"width": 32, "depth": 1, "kernel": 5, "dropout": 0.0}, input={"sample_rate": 8_000})


def _task(*texts: str, **settings: Any) -> TASK:
    model = Model(input={"sample_rate": 8_000} | settings)
    return TASK.prepare(DATA, model, [{"text": text} for text in texts or ("on off",)])


def _network(task: TASK) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(task.architecture(SMALL), pretrained=False).eval()


def _tensors(batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def _word(hertz: list[float], seed: int, rate: int = 8_000) -> np.ndarray:
    """A made-up word: one tone after another, in a little noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(0.12 * rate)) / rate
    tones = [np.sin(2 * np.pi * tone * rng.uniform(0.97, 1.03) * time) for tone in hertz]
    sound = np.concatenate(tones)
    return (0.3 * sound + 0.01 * rng.standard_normal(len(sound))).astype(np.float32)


def test_characters_are_those_of_the_texts() -> None:
    assert _task("On", "off!").state.characters == ("f", "n", "o")
    assert _task("On off", lowercase=False, punctuation=True).state.characters == (" ", "O", "f", "n", "o")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Don\u2019t  stop, NOW! ", "don't stop now"),
        ("the 'quoted' word's", "the quoted word's"),
        ("caf\u0065\u0301 \uff21", "caf\u00e9 a"),
        ("3 o'clock -- yes", "3 o'clock yes"),
        ("?!", ""),
    ],
)
def test_texts_are_normalised(text: str, expected: str) -> None:
    assert normalise_text(text, lowercase=True, punctuation=False) == expected


def test_punctuation_and_case_can_be_kept() -> None:
    assert normalise_text("Stop,  now!", lowercase=False, punctuation=True) == "Stop, now!"


@pytest.mark.parametrize(
    "settings", [{"sample_rate": 100}, {"sample_rate": 8000.5}, {"mel_bands": 4}, {"mel_band": 64}, {"lowercase": 1}]
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"model\.input"):
        _task("on", **settings)


def test_texts_without_letters_are_refused() -> None:
    with pytest.raises(DataError, match="no letters"):
        _task("...", "")


def test_only_the_own_network_is_known() -> None:
    with pytest.raises(RecipeError, match="cnn"):
        _task().architecture(Model(name="detector"))
    with pytest.raises(RecipeError, match="width"):
        _task().architecture(Model(options={"witdh": 3}))


def test_sample_rate_is_that_of_the_files_up_to_16_khz() -> None:
    def rate(*rates: int) -> int:
        rows = [{"text": "on", "audio": encode_wav(np.zeros(800, np.float32), one)} for one in rates]
        return TASK.prepare(DATA, Model(), rows).state.sample_rate

    assert rate(8_000, 8_000, 16_000) == 8_000
    assert rate(44_100) == 16_000
    assert TASK.prepare(DATA, Model(), [{"text": "on"}]).state.sample_rate == 16_000


def test_encode_makes_features_lengths_and_targets() -> None:
    task = _task("on off")
    rows = task.example(2, 1)
    rows[1]["audio"] = encode_wav(np.random.default_rng(0).standard_normal(2_000).astype(np.float32) * 0.1, 8_000)
    batch = task.encode(rows)
    assert set(batch) == set(task.inputs)
    assert batch["features"].dtype == np.float32
    assert batch["features"].shape == (2, 100 + 2 * MARGIN_FRAMES, 64)
    assert batch["lengths"].tolist() == [100 + 2 * MARGIN_FRAMES, 25 + 2 * MARGIN_FRAMES]
    labelled = task.encode([row | {"text": text} for row, text in zip(rows, ["On", "z off"], strict=True)])
    characters = task.state.characters
    assert labelled["target_lengths"].tolist() == [2, 4]  # no class for z
    assert "".join(characters[number - 1] for number in labelled["targets"][1]) == " off"
    assert labelled["targets"][0, 2:].tolist() == [0, 0]


def test_changes_of_training_reach_the_features() -> None:
    task = _task()
    (row,) = task.example(1)
    plain = task.encode([row])["features"]
    masked = task.encode([row | {"mask_spectrum": {"seed": 1, "bands": 3, "band_width": 20}}])["features"]
    assert (masked == 0).sum() > (plain == 0).sum()
    voice = task.encode([row | {"change_voice": {"stretch": 1.1, "colour_db": [3.0, 0.0, 0.0, 0.0]}}])["features"]
    assert voice.shape == plain.shape
    assert not np.allclose(voice, plain)


def test_bad_audio_is_refused() -> None:
    with pytest.raises(InvalidInput):
        _task().encode([{"audio": b""}])


def test_an_answer_does_not_depend_on_the_batch() -> None:
    task = _task()
    network = _network(task)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):  # as after training: a zero is no fixed point of the norms
            module.running_mean.normal_()
    rows = [{"audio": (_word([500.0] * size, size), 8_000)} for size in (1, 3, 7)]
    together = task.encode(rows)
    together["features"][0, together["lengths"][0] :] = 7.0  # whatever padding may hold
    with torch.no_grad():
        logits = task.forward(network, _tensors(together))["logits"]
        for index, row in enumerate(rows):
            alone = task.forward(network, _tensors(task.encode([row])))["logits"][0]
            assert torch.allclose(alone, logits[index, : len(alone)], atol=1e-5)


def _say(task: TASK, steps: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Outputs and batch of a network that says one character per step; - is the blank."""
    classes = [0 if c == "-" else task.state.characters.index(c) + 1 for c in steps]
    logits = 9 * np.eye(len(task.state.characters) + 1, dtype=np.float32)[classes][None]
    return {"logits": logits}, {"lengths": np.array([len(steps) * STRIDE])}


def _answers(task: TASK, outputs: Any, batch: Any, parameters: Any = None) -> list[Transcript]:
    return [task.merge({}, [one], parameters) for one in task.decode(outputs, batch, parameters)]


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ("--------", ""),
        ("oonn", "on"),
        ("-o-n-o-", "ono"),
        ("off", "of"),
        ("o-f-ff-", "off"),
        ("on  off"[:3] + " of-f", "on off"),
        ("  o n  ", "o n"),
        ("-- - -", ""),
    ],
)
def test_greedy_decoding_merges_repeats_and_drops_blanks(steps: str, text: str) -> None:
    task = _task()
    (answer,) = _answers(task, *_say(task, steps))
    assert answer.text == text
    assert answer.chunks is None


def test_words_carry_their_times() -> None:
    task = _task()
    quiet = "-" * (MARGIN_FRAMES // STRIDE)
    (answer,) = _answers(
        task, *_say(task, quiet + "--oon- -of-f-" + quiet), TranscriptionParameters(return_timestamps=True)
    )
    assert [chunk.text for chunk in answer.chunks or ()] == ["on", "off"]
    assert [chunk.timestamp for chunk in answer.chunks or ()] == [(0.04, 0.10), (0.16, 0.24)]
    CONTRACTS[task.name].output.validate_python(answer)


def test_a_closed_vocabulary_is_known_by_how_often_its_words_come() -> None:
    assert _task(*["on", "off"] * 20).state.words == ("off", "on")
    assert _task(*["on", "off"] * 19).state.words == ()
    assert _task("on", "off", vocabulary="closed").state.words == ("off", "on")
    assert _task(*["on", "off"] * 20, vocabulary="open").state.words == ()
    with pytest.raises(RecipeError, match="300 different"):
        _task(" ".join(f"w{number}" for number in range(300)), vocabulary="closed")
    with pytest.raises(RecipeError, match="open or closed"):
        _task("on", vocabulary="shut")


@pytest.mark.parametrize(
    ("steps", "text"),
    [("nine", "nine"), ("-neven-", "seven"), ("sine s-ieven", "nine seven"), ("----", ""), ("- s -", "s")],
)
def test_a_closed_vocabulary_hears_only_its_words(steps: str, text: str) -> None:
    task = _task("nine seven", vocabulary="closed")
    (answer,) = _answers(task, *_say(task, steps), TranscriptionParameters(return_timestamps=True))
    assert answer.text == text
    assert " ".join(chunk.text for chunk in answer.chunks or ()) == text


def test_steps_past_the_end_are_not_read() -> None:
    task = _task()
    outputs, batch = _say(task, "on-off")
    batch["lengths"] = np.array([3])
    assert _answers(task, outputs, batch)[0].text == "on"


def test_times_stay_within_the_sound() -> None:
    task = _task()
    (answer,) = _answers(task, *_say(task, "o--------n"), TranscriptionParameters(return_timestamps=True))
    assert answer.chunks is not None
    assert answer.chunks[0].timestamp == (0.0, 0.12)


@pytest.mark.parametrize(
    ("said", "truth", "wer", "cer"),
    [
        (["the cat sat"], ["the cat sat"], 0.0, 0.0),
        (["the cat"], ["the cat sat"], 1 / 3, 4 / 11),
        (["a b c"], ["a x"], 1.0, 1.0),
        (["", "two"], ["one", "two"], 1 / 2, 3 / 6),
        (["noise"], [""], 1.0, 5.0),
        ([], [], 0.0, 0.0),
    ],
)
def test_error_rates(said: list[str], truth: list[str], wer: float, cer: float) -> None:
    scores = metrics.transcription(said, truth)
    assert scores["wer"] == pytest.approx(wer)
    assert scores["cer"] == pytest.approx(cer)
    assert scores["word_accuracy"] == pytest.approx(max(0.0, 1 - wer))


def test_score_compares_normalised_texts() -> None:
    task = _task()
    answers = _answers(task, *_say(task, "on of-f"))
    assert task.score(answers, [{"text": "On, off!"}]) == {"wer": 0.0, "cer": 0.0, "word_accuracy": 1.0}
    assert task.primary.drop(dense=0.10, candidate=0.12) == pytest.approx(2.0)


def test_a_text_longer_than_its_sound_gives_no_infinite_loss() -> None:
    task = _task()
    batch = _tensors(task.encode([{"audio": (_word([500.0], 0), 8_000), "text": "on off " * 20}]))
    assert task.loss({"logits": torch.zeros(1, 14, 5)}, batch).item() == 0.0


def test_the_network_learns_made_up_words() -> None:
    torch.manual_seed(0)
    words = {"on": [300.0, 900.0], "off": [1500.0, 600.0, 1500.0], "no": [900.0, 300.0]}
    task = TASK.prepare(DATA, SMALL, [{"text": word} for word in words])
    network = build(task.architecture(SMALL), pretrained=False)
    rows = [{"audio": (_word(words[w], n), 8_000), "text": w} for n in range(8) for w in words]
    batch = _tensors(task.encode(rows))
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(60):
        loss = task.loss(task.forward(network, batch), batch, smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fresh = [{"audio": (_word(words[w], 100 + n), 8_000), "text": w} for n in range(4) for w in words]
    encoded = task.encode(fresh)
    with torch.no_grad():
        outputs = task.forward(network.eval(), _tensors(encoded))
    answers = _answers(task, {"logits": outputs["logits"].numpy()}, encoded)
    assert task.score(answers, fresh)["wer"] <= 0.1


def test_state_survives_saving(tmp_path: Path) -> None:
    task = _task("\u00fcber's", mel_bands=40)
    task.save(tmp_path)
    again = TASK.load(tmp_path)
    assert again.state == task.state
    (row,) = task.example(1)
    assert np.array_equal(again.encode([row])["features"], task.encode([row])["features"])


def test_examples_are_the_same_each_time_and_of_the_size_asked() -> None:
    task = _task()
    assert task.example(2) == task.example(2)
    assert task.encode(task.example(3, 2))["lengths"].tolist() == [200 + 2 * MARGIN_FRAMES] * 3


def test_defaults_make_a_valid_recipe() -> None:
    Train.model_validate(TASK.defaults["train"])
    for one in TASK.defaults["data"]["augment"]:
        Augmentation.model_validate(one)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_engines_agree_with_torch_at_any_size(engine: str, tmp_path: Path) -> None:
    from bigray import plugins, predictor

    task = _task()
    network = _network(task)
    runtime = plugins.load("bigray.engines", engine).ENGINE
    runtime.export(predictor.program(task, network), tmp_path)
    session = runtime.load(tmp_path)
    for sizes in ([1], [30, 3], [11, 50, 24, 8]):
        rng = np.random.default_rng(len(sizes))
        rows = [{"audio": (rng.standard_normal(size * 800).astype(np.float32), 8_000)} for size in sizes]
        batch = task.encode(rows)
        with torch.no_grad():
            expected = task.forward(network, _tensors(batch))["logits"].numpy()
        assert np.abs(session.run(batch)["logits"] - expected).max() < 1e-4
    session.close()


def test_the_head_is_kept_whole_when_pruned() -> None:
    task = _task()
    network = _network(task)
    (name,) = task.keep(network)
    assert network.get_submodule(name).out_channels == len(task.state.characters) + 1
