"""Checkpoints of every family that a task takes: loaded from a folder, run, exported, and answering as in torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigray import plugins, predictor
from bigray.errors import ModelNotFound
from bigray.models.base import build
from bigray.predictor import Predictor
from bigray.recipe import Data, Model
from tests import checkpoints

TINY: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
}
DISTIL: dict[str, Any] = {"vocab_size": 320, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
SEQUENCE: dict[str, Any] = {
    "vocab_size": 320,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "bos_token_id": 0,
    "decoder_start_token_id": 2,
}
T5: dict[str, Any] = {
    "vocab_size": 320,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 1,
    "num_heads": 2,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
VIT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
SOUND: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 3),
    "conv_stride": (80, 4),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "tdnn_dim": (8, 8),
    "tdnn_kernel": (3, 1),
    "tdnn_dilation": (1, 1),
    "xvector_output_dim": 12,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
}
TRANSFORMERS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("text_classification", "Bert", "BertForSequenceClassification", TINY),
    ("text_classification", "Roberta", "RobertaForSequenceClassification", TINY),
    ("text_classification", "DistilBert", "DistilBertForSequenceClassification", DISTIL),
    ("text_classification", "Electra", "ElectraForSequenceClassification", TINY | {"embedding_size": 16}),
    ("question_answering", "Roberta", "RobertaForQuestionAnswering", TINY | {"type_vocab_size": 1}),
    ("question_answering", "DistilBert", "DistilBertForQuestionAnswering", DISTIL),
    ("translation", "T5", "T5ForConditionalGeneration", T5),
    ("translation", "Marian", "MarianMTModel", SEQUENCE | {"decoder_start_token_id": 1}),
    ("summarization", "Bart", "BartForConditionalGeneration", SEQUENCE),
    ("image_classification", "ViT", "ViTForImageClassification", VIT),
    (
        "image_classification",
        "ResNet",
        "ResNetForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    ),
    ("image_classification", "MobileNetV2", "MobileNetV2ForImageClassification", {"image_size": 32}),
    (
        "image_classification",
        "EfficientNet",
        "EfficientNetForImageClassification",
        {"image_size": 32, "width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320},
    ),
    ("speaker_recognition", "Wav2Vec2", "Wav2Vec2ForXVector", SOUND),
    ("speaker_recognition", "WavLM", "WavLMForXVector", SOUND),
)
TORCHVISION = ("resnet18", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0")
INPUTS: dict[str, dict[str, int]] = {
    "question_answering": {"overlap": 16},
    "translation": {"max_target": 8},
    "summarization": {"max_target": 8},
}
TASKS = (
    "text_classification",
    "question_answering",
    "translation",
    "summarization",
    "image_classification",
    "automatic_speech_recognition",
    "speaker_recognition",
)
"""Those that take a checkpoint of transformers."""


def _rows(task: Any) -> list[dict[str, Any]]:
    fields: dict[str, Callable[[int], Any]] = {
        "text": lambda n: f"press {('one', 'two')[n % 2]} for sales",
        "label": lambda n: "ab"[n % 2],
        "question": lambda n: "press what?",
        "context": lambda n: "press one for sales, press two for help",
        "answers": lambda n: [{"text": "one", "start": 6}],
        "translation": lambda n: "your call is number three",
        "summary": lambda n: "press two",
        "speaker": lambda n: ("ann", "bob")[n % 2],
    }
    return [{name: fields[name](n) for name in task.fields if name in fields} for n in range(8)]


def _checkpoint(folder: Path, family: str, kind: str, sizes: dict[str, Any]) -> Path:
    import transformers

    torch.manual_seed(0)
    network = getattr(transformers, kind)(getattr(transformers, f"{family}Config")(**sizes))
    for parameter in network.parameters():  # weights of the usual size would answer everything alike
        if parameter.dim() > 1:
            parameter.data *= 3
    checkpoints.save(network, folder)
    if "vocab_size" in sizes:
        special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
        tokenizer = checkpoints.byte_pairs(special.values())
        transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return folder


def _load(folder: Path, task_name: str, family: str, kind: str, sizes: dict[str, Any]) -> tuple[Any, torch.nn.Module]:
    place = _checkpoint(folder / "checkpoint", family, kind, sizes)
    model = Model(source="transformers", name=str(place), input=INPUTS.get(task_name, {}))
    found = plugins.load("bigray.tasks", task_name).TASK
    task = found.prepare(Data(train="unused"), model, _rows(found))
    return task, build(task.architecture(model), pretrained=True).eval()


def _eager(task: Any, network: torch.nn.Module) -> Predictor:
    return Predictor(
        task, plugins.load("bigray.engines", "torch_eager").TorchSession(predictor.program(task, network), 1)
    )


def _answers(predict: Predictor, count: int) -> None:
    answers = predict.predict(predict.task.example(count))
    assert len(answers) == count
    for answer in answers:
        predict.task.contract.output.validate_python(answer)


def _agree(task: Any, network: torch.nn.Module, folder: Path, engine: str) -> None:
    """Export, answer some rows, and compare with the network in torch."""
    eager = _eager(task, network)
    folder.mkdir()
    runtime = plugins.load("bigray.engines", engine).ENGINE
    runtime.export(predictor.program(task, network), folder)
    session = runtime.load(folder)
    for count in (1, 3):
        batch = task.encode([piece for row in task.example(count) for piece in task.split(row)])
        ours, theirs = task.infer(session.run, batch), task.infer(eager.session.run, batch)
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert np.allclose(ours[name], value, atol=2e-3), name
        _answers(Predictor(task, session), count)
    session.close()


FAMILIES = pytest.mark.parametrize(
    ("task_name", "family", "kind", "sizes"), TRANSFORMERS, ids=[row[2] for row in TRANSFORMERS]
)


@FAMILIES
def test_families_of_transformers_answer(
    task_name: str, family: str, kind: str, sizes: dict[str, Any], tmp_path: Path
) -> None:
    task, network = _load(tmp_path, task_name, family, kind, sizes)
    _answers(_eager(task, network), 2)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@FAMILIES
def test_families_of_transformers_are_exported(
    task_name: str, family: str, kind: str, sizes: dict[str, Any], engine: str, tmp_path: Path
) -> None:
    _agree(*_load(tmp_path, task_name, family, kind, sizes), tmp_path / "exported", engine)


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_classifiers_of_torchvision(name: str, tmp_path: Path) -> None:
    found = plugins.load("bigray.tasks", "image_classification").TASK
    model = Model(source="torchvision", name=name, input={"image_size": 64})
    task = found.prepare(Data(train="unused"), model, _rows(found))
    torch.manual_seed(0)
    _agree(task, build(task.architecture(model), pretrained=False).eval(), tmp_path / "exported", "openvino")


@pytest.mark.parametrize("task_name", TASKS)
def test_a_hub_that_does_not_answer_is_said_so(task_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do: give a local folder."""
    import huggingface_hub.constants
    import transformers.utils.hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(transformers.utils.hub, "is_offline_mode", lambda: True)
    found = plugins.load("bigray.tasks", task_name).TASK
    model = Model(source="transformers", name="nobody/no-such-model")
    with pytest.raises(ModelNotFound) as caught:
        found.prepare(Data(train="unused"), model, _rows(found)).architecture(model)
    assert "'nobody/no-such-model' is no local folder, and no hub answered" in str(caught.value)
    assert "--local-dir" in str(caught.value)
