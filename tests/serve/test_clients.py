"""Clients of others, unmodified, against every task their dialect has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import png
from conftest import NAMES

from bigray.client import Client
from bigray.schemas import CONTRACTS
from bigray.serve.dialects._tensors import columns

pytestmark = pytest.mark.cluster


def test_huggingface_client(service: str, sound: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # the hub it talks to here is ours

    def client(task: str) -> Any:
        return hub.InferenceClient(model=f"{service}/models/{NAMES[task]}", token=None)

    texts = client("text_classification")
    assert [item.label for item in texts.text_classification("a good film")] != []
    assert len(texts.text_classification("a good film")) == 3
    assert len(texts.text_classification("a good film", top_k=1)) == 1
    images = client("image_classification")
    assert len(images.image_classification(png())) == 3
    assert images.image_classification(png(), top_k=1)[0].score > 0
    objects = client("object_detection").object_detection(png(64, 64), threshold=0.0)
    assert all(item.box.xmax >= item.box.xmin for item in objects)
    assert isinstance(client("automatic_speech_recognition").automatic_speech_recognition(sound).text, str)
    answer = client("question_answering").question_answering(question="When?", context="Ada came home at nine.")
    assert answer.answer == "Ada came home at nine."[answer.start : answer.end]
    several = client("question_answering").question_answering(
        question="When?", context="Ada came home at nine.", top_k=2
    )
    assert several[0].answer == answer.answer
    assert isinstance(client("translation").translation("a small film").translation_text, str)
    assert isinstance(client("summarization").summarization("a small film").summary_text, str)
    assert client("text_to_speech").text_to_speech("a small word").startswith(b"RIFF")
    with pytest.raises(hub.errors.HfHubHTTPError, match="text is empty"):
        texts.text_classification(" ")
    with pytest.raises(hub.errors.HfHubHTTPError, match="text is empty"):
        client("translation").translation(" ")


@pytest.mark.parametrize("binary", [True, False])
def test_triton_client(binary: bool, service: str, sound: bytes) -> None:
    triton = pytest.importorskip("tritonclient.http")

    def infer(client: Any, model: str, field: str, items: list[bytes], **more: Any) -> Any:
        tensor = triton.InferInput(field, [len(items)], "BYTES")
        tensor.set_data_from_numpy(np.array(items, dtype=object), binary_data=binary)
        return client.infer(model, [tensor], request_id="id-1", **more)

    def client(model: str) -> Any:
        return triton.InferenceServerClient(f"{service.removeprefix('http://')}/models/{model}")

    texts = client("texts")
    assert texts.is_server_live()
    assert texts.is_server_ready()
    assert texts.is_model_ready("texts")
    assert not texts.is_model_ready("others")
    version = texts.get_model_metadata("texts")["versions"][0]
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("label", "score")]
    answer = infer(
        texts, "texts", "text", [b"a good film", "sch\u00f6n".encode()], outputs=wanted, model_version=version
    )
    assert answer.as_numpy("label").shape == (2, 3)
    assert answer.as_numpy("score").dtype == np.float32
    assert answer.as_numpy("score").sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert answer.get_response()["id"] == "id-1"
    with pytest.raises(triton.InferenceServerException, match="A text is empty"):
        infer(texts, "texts", "text", [b" "])
    with pytest.raises(triton.InferenceServerException, match="no such path"):
        texts.get_model_metadata("others")
    with pytest.raises(triton.InferenceServerException, match="no model of this name"):
        client("nothing").get_model_metadata("nothing")
    if binary:  # that client cannot put bytes that are no text into JSON
        images = infer(client("images"), "images", "image", [png(), png(9, 5)], parameters={"top_k": 2})
        assert images.as_numpy("label").shape == (2, 2)
        objects = infer(client("objects"), "objects", "image", [png(64, 64)], parameters={"threshold": 1.0})
        assert objects.as_numpy("box").shape == (0, 4)
        heard = infer(client("speech"), "speech", "audio", [sound], parameters={"return_timestamps": True})
        assert heard.as_numpy("text").shape == (1,)
        assert heard.as_numpy("word_time").shape[1] == 2
        spoken = infer(client("readings"), "readings", "text", [b"a small word"])
        assert spoken.as_numpy("audio")[0].startswith(b"RIFF")


def test_triton_client_of_every_task(service: str, sound: bytes) -> None:
    triton = pytest.importorskip("tritonclient.http")
    given = {
        "text": ["a small film", "sch\u00f6n"],
        "question": ["When?", "Who?"],
        "context": ["Ada came home at nine.", "Ada came home."],
        "image": [png(), png(9, 5)],
        "audio": [sound, sound],
    }
    rows = {"input", "box", "match_input", "word_input"}
    with Client(service) as own:
        for task, name in NAMES.items():
            client = triton.InferenceServerClient(f"{service.removeprefix('http://')}/models/{name}")
            told = client.get_model_metadata(name)
            tensors = []
            for one in told["inputs"]:
                items = [item.encode() if isinstance(item, str) else item for item in given[one["name"]]]
                tensors.append(triton.InferInput(one["name"], [2], one["datatype"]))
                tensors[-1].set_data_from_numpy(np.array(items, dtype=object))
            answer = client.infer(name, tensors, request_id=task)
            assert answer.get_response()["id"] == task
            found = {one["name"]: answer.as_numpy(one["name"]) for one in answer.get_response()["outputs"]}
            assert found.keys() <= {one["name"] for one in told["outputs"]}, task
            if not rows & found.keys():
                assert all(len(array) == 2 for array in found.values()), task
            fields = CONTRACTS[task].fields
            inputs = [
                dict(zip(fields, values, strict=True)) for values in zip(*(given[f] for f in fields), strict=True)
            ]
            plain = own.predict(task, inputs if len(fields) > 1 else given[fields[0]], model=name)
            expected = columns(task, plain)
            assert found.keys() == expected.keys(), task
            for column, tensor in expected.items():
                if column == "audio":
                    assert found[column].ravel().tolist() == tensor.array.ravel().tolist(), task
                elif tensor.datatype == "BYTES":
                    assert [text.decode() for text in found[column].ravel()] == tensor.array.ravel().tolist(), task
                else:
                    assert found[column] == pytest.approx(tensor.array, abs=1e-4), task


def test_openai_client_of_every_task(service: str, sound: bytes) -> None:
    openai = pytest.importorskip("openai")
    for task, name in NAMES.items():
        client = openai.OpenAI(base_url=f"{service}/models/{name}/v1", api_key="any", max_retries=0)
        assert [model.id for model in client.models.list()] == [name]
        assert client.models.retrieve(name).id == name
        if task != "automatic_speech_recognition":  # the one task with a place in that dialect
            with pytest.raises(openai.NotFoundError, match="no such path"):
                client.audio.transcriptions.create(model=name, file=("a.wav", sound))


def test_openai_client(service: str, sound: bytes) -> None:
    openai = pytest.importorskip("openai")

    def client(path: str) -> Any:
        return openai.OpenAI(base_url=f"{service}{path}", api_key="any", max_retries=0)

    speech = client("/models/speech/v1")
    assert [model.id for model in speech.models.list()] == ["speech"]
    said = speech.audio.transcriptions.create(model="speech", file=("a.wav", sound))
    long = speech.audio.transcriptions.create(
        model="speech", file=("a.wav", sound), response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert long.text == said.text
    assert isinstance(speech.audio.transcriptions.create(model="speech", file=sound, response_format="vtt"), str)
    voice = client("/models/readings/v1").audio.speech
    assert voice.create(model="readings", voice="alloy", input="a word", response_format="flac").content[:4] == b"fLaC"
    with pytest.raises(openai.APIStatusError, match="response_format is one of"):
        voice.create(model="readings", voice="alloy", input="a word", response_format="aac")
    with pytest.raises(openai.APIStatusError, match="WAV"):
        speech.audio.transcriptions.create(model="speech", file=("a.wav", png()))
    with pytest.raises(openai.NotFoundError, match="model at this address"):
        speech.audio.transcriptions.create(model="whisper-1", file=("a.wav", sound))
    with pytest.raises(openai.NotFoundError, match="no model of this name"):
        client("/models/nothing/v1").models.list()
    assert {model.id for model in client("").models.list()} == set(NAMES.values())
