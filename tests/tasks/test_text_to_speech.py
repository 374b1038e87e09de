"""Text to speech: what is learned, how texts are read, the length regulator between two graphs, and VITS checkpoints."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from bigray import plugins
from bigray.engines.base import Session
from bigray.errors import DataError, InvalidInput, ModelNotFound, RecipeError
from bigray.models.base import build
from bigray.predictor import Predictor, load_session, program
from bigray.recipe import Data, Model
from bigray.schemas import CONTRACTS, Speech, SpeechParameters
from bigray.tasks import _sound
from bigray.tasks._regulator import LONGEST_FRAMES, regulate, whole_frames
from bigray.tasks._spelling import Spelling, pieces
from bigray.tasks.text_to_speech import TASK

RATE = 16_000
OPTIONS = {"width": 32, "encoder_depth": 1, "decoder_depth": 1, "dropout": 0.0}
LETTERS = "abcd"


def beep(text: str) -> bytes:
    """Each letter is a tone of its own, 0.1 s long."""
    time = np.arange(RATE // 10) / RATE
    tones = [np.sin(2 * np.pi * 300 * (1 + LETTERS.index(one)) * time) if one != " " else 0 * time for one in text]
    return _sound.write(0.3 * np.concatenate(tones), RATE, "flac")


def rows(count: int = 12) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list(LETTERS), int(rng.integers(3, 8)))) for _ in range(count)]
    return [{"text": text, "audio": beep(text)} for text in texts]


def prepared(**model: Any) -> Any:
    return TASK.prepare(Data(train="rows"), Model(options=OPTIONS, **model), rows())


def network(task: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(task.architecture(Model(options=OPTIONS)), pretrained=False)


def exported(task: Any, net: torch.nn.Module, engine: str, folder: Path) -> Session:
    folder.mkdir()
    plugins.load("bigray.engines", engine).ENGINE.export(program(task, net.eval()), folder)
    return load_session(task, task.architecture(Model(options=OPTIONS)), engine, folder)


def samples(answer: Speech) -> np.ndarray:
    return soundfile.read(io.BytesIO(answer.audio), dtype="float32")[0]


def test_prepare_learns_characters_rate_and_loudness() -> None:
    task = prepared()
    assert task.state.spelling.characters == ("", "", *LETTERS)
    assert task.state.sample_rate == RATE
    assert len(task.state.mel_mean) == len(task.state.mel_deviation) == 80
    encoded = task.encode(rows())
    assert np.abs(encoded["mel"][0, : encoded["mel_lengths"][0]].mean()) < 1  # standardised
    assert encoded["mel_lengths"][0] == 8 * len(rows()[0]["text"])
    assert encoded["tokens"][0][0] == encoded["tokens"][0][encoded["token_lengths"][0] - 1] == 1
    with pytest.raises(DataError, match="no letters"):
        TASK.prepare(Data(train="rows"), Model(), [{"text": "..."}])
    with pytest.raises(RecipeError, match="mel_bands: must be 20 to 128"):
        prepared(input={"mel_bands": 5})
    with pytest.raises(RecipeError, match="no network bigray/rnn"):
        task.architecture(Model(name="rnn"))


def test_a_recording_too_long_counts_as_an_empty_one() -> None:
    task = prepared(input={"max_seconds": 1.0})
    batch = task.encode([{"text": "abc", "audio": beep("abc")}, {"text": "a" * 11, "audio": beep("a" * 11)}])
    assert batch["token_lengths"].tolist() == [5, 0]
    assert batch["mel_lengths"].tolist() == [24, 0]
    net = network(task).train()
    tensors = {name: torch.from_numpy(value) for name, value in batch.items()}
    loss = task.loss(task.forward(net, tensors), tensors)
    alone = {name: value[:1] for name, value in tensors.items()} | {"tokens": tensors["tokens"][:1, :5]}
    assert torch.isfinite(loss)
    with torch.no_grad():
        assert torch.allclose(task.forward(net, tensors)["mel"][:1], task.forward(net, alone)["mel"], atol=1e-5)


def test_rows_in_training_and_in_answering_do_not_depend_on_their_neighbours() -> None:
    task = prepared()
    net = network(task)
    batch = {name: torch.from_numpy(value) for name, value in task.encode(rows(4)).items()}
    with torch.no_grad():
        trained, answered = task.forward(net.train(), batch), task.forward(net.eval(), batch)
        for number in range(4):
            own = {name: value[number : number + 1] for name, value in batch.items()}
            own["tokens"], own["mel"] = own["tokens"][:, : own["token_lengths"]], own["mel"][:, : own["mel_lengths"]]
            frames = int(own["mel_lengths"])
            alone = task.forward(net, own)["mel"][0]
            for found in (trained, answered):
                assert found["mel"][number, :frames].numpy() == pytest.approx(alone.numpy(), abs=1e-5)


def test_it_learns_what_letters_sound_like_and_where_they_lie() -> None:
    task = prepared()
    many = [{"text": row["text"], "audio": beep(f" {row['text']} ")} for row in rows(32)]  # silent at both ends
    net = network(task).train()
    batch = {name: torch.from_numpy(value) for name, value in task.encode(many).items()}
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(120):
        outputs = task.forward(net, batch)
        loss = task.loss(outputs, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    found = torch.cat([one[: int(n)] for one, n in zip(outputs["durations"], batch["token_lengths"], strict=True)])
    assert float((found - 8).abs().float().mean()) < 5  # all last 8 frames
    inner = [one[1 : int(n) - 1] for one, n in zip(outputs["durations"], batch["token_lengths"], strict=True)]
    assert 6 <= float(torch.cat(inner).float().mean()) <= 10


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_exported_graphs_answer_as_the_network_does(engine: str, tmp_path: Path) -> None:
    task = prepared()
    net = network(task)
    eager = Predictor(task, exported(task, net, "torch_eager", tmp_path / "eager"))
    other = Predictor(task, exported(task, net, engine, tmp_path / engine))
    texts = [{"text": "ab"}, {"text": "abcd " * 7}, {"text": "d"}]
    batch = task.encode(texts)
    true, found = (task.infer(one.session.run, batch) for one in (eager, other))
    assert found["frames"].tolist() == true["frames"].tolist()
    for number, frames in enumerate(true["frames"]):
        assert found["drawn"][number, :frames] == pytest.approx(true["drawn"][number, :frames], abs=2e-3)
    assert other.predict(texts)[0] == other.predict(texts[:1])[0]  # neighbours change nothing
    answer = other.predict(texts[:1])[0]
    assert (
        CONTRACTS["text_to_speech"].output.validate_json(CONTRACTS["text_to_speech"].output.dump_json(answer)) == answer
    )
    assert len(samples(answer)) == true["frames"][0] * 200


def test_dynamic_quantization_of_both_graphs(tmp_path: Path) -> None:
    from bigray.compress.plan import Plan, carry_out, step

    task = prepared()
    plan = Plan(engine="openvino", steps=(step("quantize_dynamic", {}),))
    net = network(task)
    (tmp_path / "small").mkdir()
    carry_out(plan, task, net, rows(8), tmp_path / "small")
    small = Predictor(
        task, load_session(task, task.architecture(Model(options=OPTIONS)), "openvino", tmp_path / "small")
    )
    assert small.predict([{"text": "abc"}])[0].sampling_rate == RATE


def test_speed_and_rounds() -> None:
    task = prepared()

    class Steady(Session):
        """Every character lasts ten frames."""

        def run(self, inputs: Any, part: str = "") -> Any:
            if part == "sound":
                return {"drawn": np.zeros((*inputs["hidden"].shape[:2], 80), dtype=np.float32)}
            shape = inputs["tokens"].shape
            return {"hidden": np.zeros((*shape, 4), np.float32), "log_durations": np.full(shape, np.log(10.0))}

    predictor = Predictor(task, Steady())
    for speed, frames in ((None, 50), (2.0, 25), (0.5, 100), (4.0, 13)):
        answer = predictor.predict([{"text": "abc"}], SpeechParameters(speed=speed, vocoder_rounds=0))[0]
        assert len(samples(answer)) == frames * 200  # three letters and two edges
    assert len(samples(predictor.predict([{"text": "abc"}], SpeechParameters(vocoder_rounds=3))[0])) == 50 * 200


def test_frames_are_whole_and_their_sum_is_right() -> None:
    assert whole_frames(np.log([2.4, 2.4, 2.4, 2.4, 2.4]), 1.0, rounded_up=False).tolist() == [2, 3, 2, 3, 2]
    assert whole_frames(np.log([2.4, 2.4]), 1.0, rounded_up=True).tolist() == [3, 3]
    assert whole_frames(np.log([4.0, 4.0]), 4.0, rounded_up=False).tolist() == [1, 1]
    assert whole_frames(np.array([-500.0, -500.0]), 1.0, rounded_up=False).tolist() == [0, 1]
    # a network gone wild makes no endless sound
    assert whole_frames(np.array([500.0, 0.0]), 1.0, rounded_up=False).tolist() == [LONGEST_FRAMES, 1]


def test_regulator_repeats_and_places() -> None:
    outputs = {"hidden": np.array([[[1.0], [2.0], [0.0]], [[3.0], [4.0], [5.0]]]), "log_durations": np.zeros((2, 3))}
    outputs["log_durations"][0] = np.log([3.0, 1.0, 9.0])
    found = regulate({"token_lengths": np.array([2, 3])}, outputs, 1.0)
    assert found["frames"].tolist() == [4, 3]
    assert found["hidden"][:, :, 0].tolist() == [[1, 1, 1, 2], [3, 4, 5, 0]]
    assert found["place"][0, :, 0] == pytest.approx([1 / 6, 0.5, 5 / 6, 0.5])
    assert found["place"][0, :, 1] == pytest.approx(np.log([3, 3, 3, 1]))


def test_long_texts_are_spoken_piece_by_piece() -> None:
    task = prepared(input={"max_characters": 40})
    text = "abc abc. " * 20
    found = [row["text"] for row in task.split({"text": text})]
    assert all(len(piece) <= 40 for piece in found)
    assert "".join(found).replace(" ", "") == text.replace(" ", "").replace(".", "")  # nothing lost, nothing doubled
    parts = [np.ones(100, np.float32), np.ones(50, np.float32)]
    assert len(samples(task.merge({}, parts))) == 100 + 0.2 * RATE + 50
    assert list(pieces("one two. three four", 10)) == ["one two.", "three four"]
    assert list(pieces("abcdefghij klm", 4)) == ["abcd", "efgh", "ij", "klm"]


def test_unknown_characters() -> None:
    spelling = Spelling.of(["Grüße, one"], lowercase=True)
    assert spelling.clean("ÖNE  ü \u4e2d") == "one ü"
    assert spelling.tokens("ne")[1:-1] == [spelling.characters.index("n"), spelling.characters.index("e")]
    with pytest.raises(InvalidInput, match="no letter or digit") as caught:
        list(prepared().split({"text": "\u4e2d\u6587 !"}))
    assert caught.value.code == "unspeakable_text"


def test_scores_are_worse_the_further_the_sound_is_off() -> None:
    task = prepared()
    truth = {"audio": beep("abcd")}

    def score(text: str) -> dict[str, float]:
        wav = _sound.convert(_sound.write(soundfile.read(io.BytesIO(beep(text)))[0], RATE, "wav"), "wav")
        return task.score([Speech(audio=wav, sampling_rate=RATE)], [truth])

    assert score("abcd")["mcd"] == pytest.approx(0, abs=0.2)
    assert score("abcd")["mcd"] < score("abcb")["mcd"] < score("dcba")["mcd"]
    assert score("aabbccdd")["mcd"] < score("abcb")["mcd"]  # slower, but the same
    assert score("aabbccdd")["length_error"] == pytest.approx(1)


@pytest.mark.parametrize("format_", _sound.MEDIA_TYPES)
def test_formats(format_: str) -> None:
    tone = (0.3 * np.sin(np.arange(RATE) * 0.2)).astype(np.float32)
    data = _sound.convert(_sound.write(tone, RATE, "wav"), format_)
    if format_ == "pcm":
        heard, rate = np.frombuffer(data, "<i2") / 32767, 24_000
    else:
        heard, rate = soundfile.read(io.BytesIO(data))
    assert len(heard) / rate == pytest.approx(1, abs=0.1)
    assert np.sqrt(np.mean(np.square(heard))) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VITS of random weights, with its tokenizer, as a local folder."""
    from transformers import VitsConfig, VitsModel, VitsTokenizer

    folder = tmp_path_factory.mktemp("vits")
    names = [*" abcdefghijklmnopqrstuvwxyz'-", "<unk>"]
    (folder / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    tokenizer = VitsTokenizer(
        str(folder / "vocab.json"), language="eng", add_blank=True, normalize=True, phonemize=False, pad_token=" "
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = VitsConfig(
        vocab_size=len(names), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=32, flow_size=16,
        spectrogram_bins=33, upsample_initial_channel=16, upsample_rates=[4, 4], upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]], prior_encoder_num_flows=2,
        prior_encoder_num_wavenet_layers=1, posterior_encoder_num_wavenet_layers=1, wavenet_dilation_rate=1,
        depth_separable_num_layers=1, duration_predictor_num_flows=2, sampling_rate=RATE, noise_scale=0.0,
        noise_scale_duration=0.0,
    )  # fmt: skip
    model = VitsModel(config)
    with torch.no_grad():
        for parameter in model.duration_predictor.parameters():
            parameter.normal_(std=0.3)  # as built, every character lasts the same
    model.save_pretrained(folder)
    return folder


def test_vits_speaks_as_it_does_in_transformers(checkpoint: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, VitsModel

    recipe = Model(source="transformers", name=str(checkpoint))
    task = TASK.prepare(Data(train="rows"), recipe, [{"text": "abc"}])
    assert task.state.sample_rate == RATE
    text = "Hello my dog"
    tokens = AutoTokenizer.from_pretrained(checkpoint)(text)["input_ids"]
    assert task.encode([{"text": text}])["tokens"][0].tolist() == tokens
    with torch.no_grad():
        true = VitsModel.from_pretrained(checkpoint).eval()(torch.tensor([tokens])).waveform[0].numpy()
    net = build(task.architecture(recipe), pretrained=True).eval()
    for engine in ("torch_eager", "onnxruntime", "openvino"):
        folder = tmp_path / engine
        folder.mkdir()
        plugins.load("bigray.engines", engine).ENGINE.export(program(task, net), folder)
        predictor = Predictor(task, load_session(task, task.architecture(recipe), engine, folder))
        longer = predictor.predict([{"text": text}, {"text": "a longer text than that"}])[0]
        heard = samples(predictor.predict([{"text": text}])[0])
        assert heard == pytest.approx(np.clip(true, -1, 1), abs=1e-3)
        assert samples(longer) == pytest.approx(heard, abs=1e-3)


def test_vits_is_not_trained_and_other_checkpoints_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    task = TASK.prepare(Data(train="rows"), Model(source="transformers", name=str(checkpoint)), [{"text": "abc"}])
    with pytest.raises(RecipeError, match="used as it is"):
        task.forward(torch.nn.Identity(), {})
    from transformers import BertConfig

    BertConfig(vocab_size=10, hidden_size=8, num_attention_heads=2).save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="of kind 'bert'; text_to_speech takes VITS"):
        TASK.prepare(Data(train="rows"), Model(source="transformers", name=str(tmp_path)), [{"text": "abc"}])
    with pytest.raises(ModelNotFound, match="--local-dir"):
        TASK.prepare(Data(train="rows"), Model(source="transformers", name="nobody/no-voice"), [{"text": "abc"}])
