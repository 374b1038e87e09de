"""Encoder-decoders made narrower: what they answer step by step is still what they say of the whole in one pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bigray import plugins
from bigray.compress.base import ConversionError, Samples
from bigray.compress.methods.prune_structured import METHOD, Config, groups
from bigray.compress.plan import Plan, carry_out, step
from bigray.models.base import build
from bigray.predictor import Predictor, load_session, program
from bigray.recipe import Data, Model
from bigray.tasks._speech import encode_wav
from bigray.tasks.base import Row
from tests import checkpoints, networks
from tests.tasks import test_families

TEXTS: list[Row] = [
    {"text": f"the cat sat on mat {n}", "translation": f"die katze sass auf matte {n}"} for n in range(12)
]
KINDS = ("own", "whisper", "T5", "Marian", "Bart")


def _sound(seed: int) -> bytes:
    return encode_wav((0.1 * np.random.default_rng(seed).standard_normal(16_000)).astype(np.float32), 16_000)


def _load(kind: str, folder: Path) -> tuple[Any, Any, torch.nn.Module, list[Row]]:
    """Return a task, its architecture, a network and rows."""
    if kind == "own":
        task_name, rows = "translation", TEXTS
        model = Model(name="transformer", options={"width": 32, "feedforward": 64, "depth": 2})
    elif kind == "whisper":
        task_name, rows = "automatic_speech_recognition", [{"audio": _sound(n), "text": "one two"} for n in range(6)]
        model = Model(source="transformers", name=str(checkpoints.whisper(folder / "hub")))
    else:
        found = next(
            row for row in test_families.TRANSFORMERS if row[1] == kind and row[0] in ("translation", "summarization")
        )
        task_name, sizes = found[0], {**found[3], **_two_layers(kind)}
        model = Model(source="transformers", name=str(test_families._checkpoint(folder / "hub", kind, found[2], sizes)))
        rows = test_families._rows(plugins.load("bigray.tasks", task_name).TASK)
    task = plugins.load("bigray.tasks", task_name).TASK.prepare(Data(train="rows"), model, rows)
    architecture = task.architecture(model)
    torch.manual_seed(0)
    return task, architecture, build(architecture, pretrained=model.source == "transformers").eval(), rows


def _two_layers(kind: str) -> dict[str, int]:
    wide = {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_layers": 2, "decoder_layers": 2}
    return {"d_ff": 64, "num_layers": 2} if kind == "T5" else wide


@pytest.mark.parametrize("kind", KINDS)
def test_steps_say_what_the_whole_says(kind: str, tmp_path: Path) -> None:
    task, architecture, network, rows = _load(kind, tmp_path)
    dense = networks.parameters(network)
    plan = Plan(engine="torch_eager", steps=(step("prune_structured", {"ratio": 0.5, "round_to": 4}),))
    (tmp_path / "small").mkdir()
    carry_out(plan, task, network, rows, tmp_path / "small")
    assert networks.parameters(network) < 0.9 * dense
    session = load_session(task, architecture, "torch_eager", tmp_path / "small")
    batch = task.encode(rows[:3])
    whole = networks.answer(_training(task, network, batch), batch)["logits"]
    first = len(getattr(task.state, "prompt", (0,)))
    begun = session.run({name: batch[name] for name in task.graphs[""].inputs})
    np.testing.assert_allclose(begun["logits"], whole[:, first - 1], atol=1e-4)
    inputs = {
        **{name: begun[name] for name in task.graphs["step"].inputs if name in begun},
        **{name: batch[name] for name in task.graphs["step"].inputs if name in batch},
        "token": batch["decoder_input_ids"][:, first : first + 1],
        "position": np.full((3, 1), first),
    }
    further = session.run({name: inputs[name] for name in task.graphs["step"].inputs}, "step")
    np.testing.assert_allclose(further["logits"], whole[:, first], atol=1e-4)


def _training(task: Any, network: torch.nn.Module, batch: Any) -> Any:
    from bigray.engines.base import Program

    return Program(network, task.forward, task.inputs, task.outputs, task.dynamic, batch)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_narrower_ones_are_exported(engine: str, tmp_path: Path) -> None:
    task, architecture, network, rows = _load("own", tmp_path)
    plan = Plan(engine=engine, steps=(step("prune_structured", {"ratio": 0.5, "importance": "taylor"}),))
    (tmp_path / "small").mkdir()
    carry_out(plan, task, network, rows, tmp_path / "small")
    session = load_session(task, architecture, engine, tmp_path / "small")
    (tmp_path / "eager").mkdir()
    plugins.load("bigray.engines", "torch_eager").ENGINE.export(program(task, network), tmp_path / "eager")
    eager = load_session(task, architecture, "torch_eager", tmp_path / "eager")
    asked = [{"text": row["text"]} for row in rows[:4]]
    assert Predictor(task, session).predict(asked) == Predictor(task, eager).predict(asked)


def test_heads_of_a_decoder_stay_as_its_layers_share_a_cache(tmp_path: Path) -> None:
    task, _, network, rows = _load("Marian", tmp_path)
    found = groups(program(task, network), [], Samples(task, rows, rows))
    assert any("encoder.layers.0.self_attn" in name for name in found)
    assert any("decoder.layers.0.fc1" in name for name in found)
    assert not any("decoder" in name and "attn" in name for name in found)


def test_without_rows_there_is_nothing_to_trace(tmp_path: Path) -> None:
    task, _, network, _ = _load("own", tmp_path)
    with pytest.raises(ConversionError, match="calibration rows, and there are none"):
        METHOD.prune(program(task, network), Config(), [], Samples(task, [], []))
