"""A plan carried out: the methods of both stages one after another, on a task's own rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bigray import plugins
from bigray.compress.plan import Plan, carry_out, step
from bigray.models import _weights
from tests import networks
from tests.tasks.test_text_classification import ROWS, outputs, prepared

STEPS = (
    step("drop_layers", {"keep": 0.5, "which": "importance"}),
    step("trim_vocabulary", {}),
    step("prune_structured", {"ratio": 0.25, "importance": "taylor", "round_to": 4}),
    step("low_rank", {"rank_ratio": 0.3}),
    step("prune_magnitude", {"sparsity": 0.5}),
)


@pytest.mark.parametrize("engine", ["torch_eager", "openvino"])
def test_all_network_methods_work_one_after_another(engine: str, tmp_path: Path) -> None:
    task, _ = prepared("ffnn")
    network = networks.encoder("bert", 4, 600).network
    before = networks.parameters(network)
    seen = []

    def recover(pruned: torch.nn.Module) -> None:
        seen.append(networks.parameters(pruned))

    carry_out(Plan(engine=engine, steps=STEPS), task, network, ROWS[:8], tmp_path, recover, ROWS)
    assert seen == [networks.parameters(network)]
    assert networks.parameters(network) < 0.4 * before
    _, expected = outputs(task, network, ROWS[:5])
    batch = task.encode(ROWS[:5])
    if engine == "torch_eager":
        again = _weights.load(networks.encoder("bert", 4, 600).network, tmp_path)
        np.testing.assert_array_equal(outputs(task, again, ROWS[:5])[1]["logits"], expected["logits"])
        return
    found = plugins.load("bigray.engines", engine).ENGINE.load(tmp_path).run(batch)
    np.testing.assert_allclose(found["logits"], expected["logits"], atol=1e-4)
