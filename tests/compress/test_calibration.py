"""A network that answers step by step is calibrated on what its own steps left, and then has every graph in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bigray.compress import calibration
from bigray.compress import plan as plans
from bigray.compress.methods import _graphs
from bigray.engines.base import graph_folders
from bigray.engines.torch_eager import TorchSession
from bigray.predictor import Predictor, program
from tests.tasks.test_text_to_speech import prepared as speech
from tests.tasks.test_translation import ROWS, prepared


@pytest.mark.parametrize("beams", [1, 3])
def test_every_graph_gets_what_it_got_while_rows_were_answered(beams: int) -> None:
    task, network = prepared(beams=beams, max_target=12)
    found = calibration.batches(task, ROWS[:5], lambda: TorchSession(program(task, network), 1))
    assert list(found) == ["", "step"]
    assert [set(one) for one in found[""]] == [set(task.graphs[""].inputs)] * 5
    assert all(len(one["input_ids"]) == 1 for one in found[""])
    assert 5 <= len(found["step"]) <= 5 * calibration.STEPS
    assert {tuple(one) for one in found["step"]} == {task.graphs["step"].inputs}
    lengths = [one["keys"].shape[3] for one in found["step"]]
    assert min(lengths) == 1 < max(lengths)  # the first step, and one with a longer past
    assert {len(one["token"]) for one in found["step"]} == {beams}


def test_rows_and_steps_are_few() -> None:
    task, network = prepared(max_target=40)
    found = calibration.batches(task, ROWS[:60], lambda: TorchSession(program(task, network), 1))
    assert len(found[""]) == calibration.ROWS < 60
    assert len(found["step"]) <= calibration.ROWS * calibration.STEPS


def test_static_quantization_of_a_network_that_answers_step_by_step(tmp_path: Path) -> None:
    task, network = prepared()
    steps = (plans.step("quantize_static", {}),)
    plan = plans.Plan(engine="openvino", steps=steps)
    plans.carry_out(plan, task, network, ROWS[:16], tmp_path)
    folders = graph_folders(tmp_path)
    assert list(folders) == ["", "step"]
    for folder in folders.values():
        types = _graphs.openvino_types(folder)
        assert types["FakeQuantize"] > 4
        assert types["Constant:i8"] + types["Constant:u8"] > 4
    session = plans.runtime("openvino").load(tmp_path)
    dense = TorchSession(program(task, network), 1)
    step = calibration.batches(task, ROWS[20:21], lambda: dense)["step"][-1]
    for part, batch in (("", task.encode(ROWS[20:24])), ("step", step)):
        before, after = (one.run(batch, part)["logits"] for one in (dense, session))
        assert before.shape == after.shape
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.99
    assert len(Predictor(task, session).predict(ROWS[20:24])) == 4
    session.close()


def test_synthesisers_of_speech_are_refused() -> None:
    task = speech()
    assert list(task.graphs) == ["", "sound"]
    assert "sound of any length" in (plans.method("quantize_static").suits(task, "openvino") or "")
    assert plans.method("quantize_dynamic").suits(task, "openvino") is None
    words, _ = prepared()
    assert plans.method("quantize_static").suits(words, "openvino") is None
