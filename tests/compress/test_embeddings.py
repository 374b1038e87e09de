"""A candidate of a task without class scores in its answers: pruned, taught again, quantized, judged; no Ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bigray import artifact, plugins
from bigray import recipe as recipes
from bigray.compress import plan as plans
from bigray.compress.candidate import Job, Workbench, dense_answers, verify
from bigray.evaluate import answers
from bigray.models.base import build
from bigray.predictor import Predictor, open_artifact, program
from bigray.tasks.base import Row
from bigray.tasks.face_recognition import TASK
from bigray.train.recover import recover

RECIPE = recipes.parse(
    """
name: faces
task: face_recognition
data: {train: "catalogue:faces", augment: []}
model: {options: {width: 16, stages: 2, embedding: 16}}
train: {learning_rate: 5.0e-3, batch_size: 32}
compress: {max_drop: 10, recover_epochs: 1, batch_sizes: [1]}
"""
)


@pytest.fixture(scope="module")
def parts() -> tuple[list[Row], list[Row], list[Row]]:
    """Rows of 24 people to train on, of 10 for validation, of 10 for test."""
    rows = plugins.load("bigray.data.catalogue", "faces").ENTRY.rows()
    number = [int(row["identity"][-2:]) for row in rows]
    edges = ((0, 24), (24, 34), (34, 44))
    return tuple([row for row, n in zip(rows, number, strict=True) if low <= n < high] for low, high in edges)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def dense(parts: tuple[list[Row], list[Row], list[Row]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a network that was trained for some steps, with thresholds."""
    train, validation, _ = parts
    task = TASK.prepare(RECIPE.data, RECIPE.model, train)
    architecture = task.architecture(RECIPE.model)
    torch.manual_seed(0)
    network, rng = build(architecture, pretrained=False), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    batch = {name: torch.from_numpy(array) for name, array in task.encode(train).items()}
    for _ in range(30):
        chosen = torch.from_numpy(rng.permutation(len(train))[:32])
        part = {name: value[chosen] for name, value in batch.items()}
        optimizer.zero_grad()
        task.loss(task.forward(network, part), part).backward()
        optimizer.step()
    eager = plugins.load("bigray.engines", "torch_eager")
    predictor = Predictor(task, eager.TorchSession(program(task, network.eval()), 1))
    task = task.settled(answers(predictor, validation), validation)
    folder = tmp_path_factory.mktemp("faces") / "dense"
    with artifact.create(folder) as draft:
        task.save(draft.task_dir)
        eager.ENGINE.export(program(task, network), draft.model_dir)
        draft.commit(
            artifact.Manifest(
                name="faces", created=artifact.now(), task=task.name, architecture=architecture, engine="torch_eager"
            )
        )
    return folder


def test_a_pruned_and_quantized_candidate_still_tells_people_apart(
    parts: tuple[list[Row], list[Row], list[Row]], dense: Path, tmp_path: Path
) -> None:
    train, validation, test = parts
    before = open_artifact(dense)
    metric = before.task.score(answers(before, validation), validation)["eer"]

    def teach(task, network, teacher, rows, recipe, glance):  # type: ignore[no-untyped-def]
        return recover(task, network, teacher, rows, recipe, epochs=recipe.compress.recover_epochs, glance=glance)

    job = Job(RECIPE, dense, tmp_path, validation, train[:16], train, metric, teach)
    steps = (
        plans.step("prune_structured", {"ratio": 0.25, "round_to": 4, "importance": "taylor"}),
        plans.step("quantize_static", {}),
    )
    plan = plans.Plan(engine="openvino", steps=steps)
    trial = Workbench(job).run(plan)
    assert trial.status == "ok", trial.reason
    assert trial.drop_points is not None
    assert trial.drop_points < 15
    judged = verify(RECIPE, dense, tmp_path / plan.key / "model", plan, test, dense_answers(RECIPE, dense, test))
    assert judged.chosen.metrics["eer"].value < 0.45
    assert judged.chosen.size_bytes < 0.7 * judged.dense.size_bytes  # the graph itself weighs 60 kB
    assert set(judged.chosen.metrics) == set(judged.dense.metrics)
