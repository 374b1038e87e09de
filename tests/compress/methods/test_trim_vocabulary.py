"""Trimmed networks hold fewer vectors, answer kept tokens exactly as before, and read the same ids."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from bigray import plugins
from bigray.compress.base import ConversionError
from bigray.compress.methods import _graphs, quantize_dynamic, quantize_static
from bigray.compress.methods.trim_vocabulary import METHOD, Config
from bigray.engines.base import Arrays, Program
from bigray.models._replacements import TrimmedEmbedding
from tests import networks
from tests.tasks.test_text_classification import prepared

LARGE = 300
FAMILIES: dict[str, Callable[[], Program]] = {
    kind: lambda kind=kind: networks.encoder(kind, 1, LARGE)  # type: ignore[misc]
    for kind in ("bert", "roberta", "distilbert")
}


def trim(program: Program, **knobs: Any) -> TrimmedEmbedding:
    METHOD.prune(program, Config(**knobs), [], networks.samples(program))
    return next(module for module in program.network.modules() if isinstance(module, TrimmedEmbedding))


def seen(program: Program) -> np.ndarray:
    rows = networks.samples(program).training
    return np.unique(np.concatenate([row["input_ids"].ravel() for row in rows]))


def of(ids: list[int]) -> Arrays:
    return {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}


@pytest.mark.parametrize("name", FAMILIES)
def test_kept_tokens_answer_as_before_and_reload(name: str, tmp_path: Path) -> None:
    program, dense = FAMILIES[name](), FAMILIES[name]()
    before = networks.parameters(program.network)
    embedding = trim(program)
    kept = sorted({0, 1, 3, *seen(dense).tolist()})
    assert embedding.num_embeddings == len(kept) < 61
    assert embedding.table.dtype == torch.int16
    assert networks.parameters(program.network) == before - (LARGE - len(kept)) * 32
    for row in networks.samples(program).training[:4]:
        np.testing.assert_array_equal(networks.answer(program, row)["logits"], networks.answer(dense, row)["logits"])
    gone, unknown = of([kept[4], 299, kept[5], 120]), of([kept[4], 3, kept[5], 3])
    np.testing.assert_array_equal(networks.answer(program, gone)["logits"], networks.answer(dense, unknown)["logits"])
    engine = plugins.load("bigray.engines", "torch_eager").ENGINE
    engine.export(program, tmp_path)
    found = engine.load(tmp_path, program=FAMILIES[name]).run(gone)["logits"]
    np.testing.assert_array_equal(found, networks.answer(program, gone)["logits"])


def largest(engine: str, directory: Path) -> int:
    """How many numbers the largest constant of a graph holds."""
    if engine == "openvino":
        nodes = _graphs.read_openvino(directory).get_ops()
        return max(int(np.prod(node.get_output_shape(0))) for node in nodes if node.get_type_name() == "Constant")
    return max(int(np.prod(one.dims)) for one in onnx.load(directory / "model.onnx").graph.initializer)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_engines_read_the_same_ids_from_smaller_graphs(engine: str, tmp_path: Path) -> None:
    runtime = plugins.load("bigray.engines", engine).ENGINE
    program = FAMILIES["bert"]()
    trim(program)
    inputs = networks.words(3, 20, 7)
    inputs["input_ids"][0, :3] = 250  # gone
    expected = networks.answer(program, inputs)["logits"]
    plain = tmp_path / "plain"
    plain.mkdir()
    runtime.export(program, plain)
    np.testing.assert_allclose(runtime.load(plain).run(inputs)["logits"], expected, atol=1e-4)
    assert largest(engine, plain) < LARGE * 32
    for method in (quantize_dynamic, quantize_static)[: 2 if engine == "openvino" else 1]:
        folder = Path(shutil.copytree(plain, tmp_path / method.METHOD.name))
        calibration = iter([networks.words(1, 6 + seed, seed) for seed in range(8)])
        method.METHOD.rewrite(folder, engine, method.METHOD.Config(), calibration, networks.task("transformer"))
        assert largest(engine, folder) < LARGE * 32
        found = runtime.load(folder).run(inputs)["logits"]
        np.testing.assert_allclose(found, expected, atol=0.3 * np.abs(expected).max())


def test_tokens_that_are_gone_may_borrow_the_nearest_vector() -> None:
    program, dense = FAMILIES["bert"](), FAMILIES["bert"]()
    kept = seen(dense)
    for one in (program, dense):
        with torch.no_grad():
            words = one.network.bert.embeddings.word_embeddings.weight  # type: ignore[union-attr]
            words[200] = 3 * words[int(kept[5])] + 0.01
    trim(program, unseen="nearest")
    np.testing.assert_array_equal(
        networks.answer(program, of([200, int(kept[2])]))["logits"],
        networks.answer(dense, of([int(kept[5]), int(kept[2])]))["logits"],
    )


def test_rare_tokens_go_with_a_higher_count() -> None:
    often = trim(FAMILIES["bert"](), min_count=3).num_embeddings
    assert 2 < often < trim(FAMILIES["bert"]()).num_embeddings


def test_padding_gets_no_gradient_and_the_rest_does() -> None:
    program = FAMILIES["bert"]()
    embedding = trim(program)
    program.forward(program.network, {key: torch.from_numpy(v) for key, v in of([0, 5, 6]).items()})[
        "logits"
    ].sum().backward()
    assert embedding.weight.grad is not None
    assert embedding.weight.grad[embedding.padding_idx].abs().sum() == 0
    assert embedding.weight.grad.abs().sum() > 0


def test_nothing_to_trim_is_an_error() -> None:
    program = networks.encoder("bert", 1)
    with pytest.raises(ConversionError, match="would keep 60 of 60"):
        METHOD.prune(program, Config(), [], networks.samples(program, 60))
    shared = FAMILIES["bert"]()
    shared.network.tied = torch.nn.Linear(32, LARGE, bias=False)
    shared.network.tied.weight = shared.network.bert.embeddings.word_embeddings.weight  # type: ignore[union-attr]
    with pytest.raises(ConversionError, match="shared"):
        trim(shared)
    program = networks.residual()
    with pytest.raises(ConversionError, match="no token ids"):
        METHOD.prune(program, Config(), [], networks.samples(program))


def test_what_suits_and_what_tasks_say_of_their_ids() -> None:
    task, network = prepared("ffnn")
    assert METHOD.suits(task, "openvino") is None
    vocabulary = task.vocabulary()
    assert vocabulary.size == network.embedding.num_embeddings
    assert vocabulary.unknown in vocabulary.special
    assert task.tokenizer.id_to_token(vocabulary.unknown) == "[UNK]"
    assert "no token ids" in (METHOD.suits(networks.samples(networks.residual()).task, "openvino") or "")
