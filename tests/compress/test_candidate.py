"""A candidate at work: what is looked at in the middle of its training, and when that ends it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import pytest
import torch

from bigray import artifact, plugins
from bigray import recipe as recipes
from bigray.compress import candidate, objective, runoff, search
from bigray.compress import plan as plans
from bigray.compress import space as spaces
from bigray.compress.candidate import Job, Workbench
from bigray.engines import torch_eager as eager
from bigray.models.base import build
from bigray.predictor import load_task, open_artifact, program
from bigray.recipe import Compress, Data, Model, Recipe
from bigray.tasks.base import Row
from bigray.train.recover import EARLY, recover

WORDS = ("good fine bright", "bad dull poor", "neither here nor there")
ROWS: list[Row] = [{"text": f"{WORDS[i % 3]} film {i}", "label": "abc"[i % 3]} for i in range(60)]
RECIPE = recipes.parse(
    """
name: candidates
task: text_classification
data: {train: rows.csv}
model: {name: ffnn}
train: {batch_size: 10, learning_rate: 0.02}
compress: {recover_epochs: 1, batch_sizes: [1, 4]}
"""
)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    kind = plugins.load("bigray.tasks", "text_classification").TASK
    task = kind.prepare(Data(train="rows"), Model(name="ffnn"), ROWS)
    architecture = task.architecture(Model(name="ffnn"))
    network = build(architecture, pretrained=False)
    recover(task, network, network, ROWS, RECIPE, epochs=10)
    folder = tmp_path_factory.mktemp("texts") / "dense"
    with artifact.create(folder) as draft:
        task.save(draft.task_dir)
        eager.ENGINE.export(program(task, network), draft.model_dir)
        draft.commit(
            artifact.Manifest(
                name="texts", created=artifact.now(), task=task.name, architecture=architecture, engine="torch_eager"
            )
        )
    return folder


def plan(importance: str) -> plans.Plan:
    steps = (plans.step("prune_structured", {"ratio": 0.25, "importance": importance, "round_to": 4}),)
    return plans.Plan(engine="openvino", steps=steps)


def job(dense: Path, folder: Path, teach: Callable[..., Any]) -> Job:
    assert open_artifact(dense).predict(ROWS[:3])[1][0].label == "b"
    return Job(RECIPE, dense, folder, ROWS, ROWS[:16], ROWS, 1.0, teach)


def test_a_candidate_is_measured_at_each_batch_size(dense: Path, tmp_path: Path) -> None:
    plain = plans.Plan(engine="onnxruntime")
    trial = Workbench(job(dense, tmp_path, recover)).run(plain)
    assert [one.batch_size for one in trial.variant.latency] == [1, 4]
    assert trial.variant.speedup == pytest.approx(geometric_mean(trial.variant.speedups))
    assert trial.variant.least_speedup == min(trial.variant.speedups)
    before = candidate.dense_answers(RECIPE, dense, ROWS)
    judged = candidate.verify(RECIPE, dense, tmp_path / plain.key / "model", plain, ROWS, before)
    assert len(judged.chosen.speedups) == 2


def test_a_method_may_find_nothing_to_do_in_a_network(dense: Path, tmp_path: Path) -> None:
    bench = Workbench(job(dense, tmp_path, recover))
    before = {name: value.clone() for name, value in bench.network.state_dict().items()}
    assert "drops nothing" in (bench.objection(plans.step("drop_layers", {"keep": 0.3})) or "")
    assert bench.objection(plans.step("prune_structured", {"ratio": 0.25, "round_to": 4})) is None
    assert all(torch.equal(value, before[name]) for name, value in bench.network.state_dict().items())


def test_the_fastest_run_side_by_side(dense: Path, tmp_path: Path) -> None:
    opened = artifact.Artifact.open(dense)
    task = load_task(opened.manifest.task, opened.task_dir)
    network = build(opened.manifest.architecture, pretrained=False)
    plugins.load("bigray.engines", "onnxruntime").ENGINE.export(program(task, network), tmp_path)
    models = {
        3: (plans.Plan(engine="torch_eager"), opened.model_dir),
        7: (plans.Plan(engine="onnxruntime"), tmp_path),
    }
    found = runoff.turns(RECIPE, dense, models, ROWS)
    assert list(found) == [3, 7]
    assert 0.5 < found[3] < 2  # the dense model itself
    assert found[7] > 0


def test_one_clearly_behind_in_the_middle_of_its_training_is_stopped(
    dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate, "WORTH", 0.0)
    monkeypatch.setattr(candidate, "hopeless", lambda *_: None)  # the first one loses nothing, and is as fast
    monkeypatch.setattr(objective, "LITTLE", 0.9)  # networks this small are not told apart by their times
    spoil = False

    def teach(task: Any, network: Any, teacher: Any, rows: Any, recipe: Recipe, glance: Callable[[], None]) -> None:
        def spoiled() -> None:
            if spoil:
                for parameter in network.parameters():
                    torch.nn.init.zeros_(parameter)
            glance()

        recover(task, network, teacher, rows, recipe, epochs=1, glance=spoiled)

    bench = Workbench(job(dense, tmp_path, teach))
    good = bench.run(plan("magnitude"))
    assert good.status == "ok", good.reason
    assert good.early is not None
    assert good.early.high < 50
    spoil = True
    bad = bench.run(plan("taylor"))
    assert bad.status == "stopped", bad.reason
    assert bad.early is not None
    assert bad.early.low > good.early.high
    assert bad.drop_points is None
    assert bad.reason is not None
    assert "in the middle of its training" in bad.reason
    assert bad.variant.speedup > 0
    assert objective.front([good, bad]) == [good]


@pytest.mark.parametrize("step", [("quantize_aware", {}), ("prune_magnitude", {"sparsity": 0.5, "schedule": "cubic"})])
def test_what_covers_weights_while_they_train_is_still_there_after_a_look(
    dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: tuple[str, dict[str, Any]]
) -> None:
    monkeypatch.setattr(candidate, "WORTH", 0.0)

    def teach(task: Any, network: Any, teacher: Any, rows: Any, recipe: Recipe, glance: Callable[[], None]) -> None:
        def weights() -> list[torch.Tensor]:
            return [layer.weight.detach().clone() for layer in network.modules() if hasattr(layer, "parametrizations")]

        def looked() -> None:
            before = weights()
            glance()
            assert before
            for one, other in zip(before, weights(), strict=True):
                assert torch.equal(one, other)

        recover(task, network, teacher, rows, recipe, epochs=1, glance=looked)

    one = plans.Plan(engine="openvino", steps=(plans.step(*step),))
    trial = Workbench(job(dense, tmp_path, teach)).run(one)
    assert trial.status == "ok", trial.reason
    assert trial.early is not None


def test_a_training_shorter_than_a_look_is_not_looked_at(dense: Path, tmp_path: Path) -> None:
    def teach(*given: Any) -> None:
        given[-1]()

    trial = Workbench(job(dense, tmp_path, teach)).run(plan("magnitude"))
    assert trial.status == "ok", trial.reason
    assert trial.early is None


def test_a_glance_comes_once_and_changes_nothing(dense: Path) -> None:
    bench = Workbench(job(dense, dense.parent, lambda *_: None))
    looks: list[int] = []

    def trained(glance: Callable[[], object] | None) -> list[torch.Tensor]:
        network = bench._load()
        steps = recover(bench.task, network, bench.network, ROWS, RECIPE, epochs=2, glance=glance)
        assert steps == 12
        return [parameter.detach() for parameter in network.parameters()]

    def glance() -> None:
        looks.append(int(torch.randint(1000, ()).item()))

    for one, other in zip(trained(None), trained(glance), strict=True):
        assert torch.equal(one, other)
    assert len(looks) == 1
    assert 0 < EARLY < 1

    def enough() -> None:
        raise candidate.Stopped("enough")

    with pytest.raises(candidate.Stopped, match="enough"):
        trained(enough)


@pytest.mark.cluster
def test_what_layers_cost_is_told_meanwhile_and_goes_on_where_it_was(
    ray_cluster: None, dense: Path, tmp_path: Path
) -> None:
    work = job(dense, tmp_path / "search", lambda *_: None)
    task = Workbench(work).task
    space = spaces.build(Compress(methods=["prune_structured"], engines=["openvino"]), task)
    told: list[dict[str, Any]] = []
    costs = search.sensitivities(work, space, told.append)
    assert costs
    assert [event["done"] for event in told] == list(range(1, told[0]["total"] + 1))
    assert [event["cost"]["layer"] for event in told if event["cost"]] == [cost.layer for cost in costs]
    paths = sorted(tmp_path.glob("sensitivity-*/group-*.json"))
    assert len(paths) == len(told)
    paths[0].unlink()
    before = {path: path.stat().st_mtime_ns for path in paths[1:]}
    again = search.sensitivities(work, space)
    assert [cost.layer for cost in again] == [cost.layer for cost in costs]
    assert {path: path.stat().st_mtime_ns for path in paths[1:]} == before
