"""What a candidate is given to recover with, and what that counts as in the report."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bigray import recipe as recipes
from bigray import recovery
from bigray.train.recover import lent_device

RECIPE = """
name: candidates
task: text_classification
data: {train: rows.csv}
model: {name: ffnn}
"""


@pytest.mark.parametrize(
    ("train", "engines", "room", "held"),
    [
        ("{workers: 1}", "[openvino]", True, (1, 0)),
        ("{workers: 3, cpus_per_worker: 2}", "[openvino]", True, (7, 0)),
        ("{workers: 3, cpus_per_worker: 2}", "[openvino]", False, (2, 0)),
        ("{workers: 1, cpus_per_worker: 16}", "[openvino]", True, (4, 0)),
        ("{workers: 2, gpu: true}", "[openvino]", True, (3, 2)),
        ("{workers: 2, gpu: true}", "[openvino, torch_gpu]", True, (3, 3)),
        ("{workers: 1}", "[torch_gpu]", True, (1, 1)),
    ],
)
def test_cores_and_gpus_that_a_candidate_holds(
    train: str, engines: str, room: bool, held: tuple[float, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def has_room(recipe: recipes.Recipe, beside: int, gpus: int) -> bool:
        asked.append((beside, gpus))
        return room

    monkeypatch.setattr(recovery, "at_once", lambda recipe: 2)
    monkeypatch.setattr(recovery, "cores", lambda: 8)
    monkeypatch.setattr(recovery, "gpus", lambda names: int("torch_gpu" in names))
    monkeypatch.setattr(recovery.recover_group, "room", has_room)
    recipe = recipes.parse(RECIPE, [f"train={train}", f"compress.engines={engines}"])
    way = recovery.choose(recipe)
    assert (way.cores, way.gpus) == held
    grouped = way.recover is recovery.together
    assert grouped == (room and ("workers: 3" in train or "gpu" in train))
    if not grouped:
        assert getattr(way.recover, "keywords", {}) == {"threads": held[0]}
    assert asked == ([] if "workers: 1" in train else [(2, 2 if "torch_gpu" in engines else 0)])


def test_recovery_takes_its_threads_and_gives_them_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(recovery.recover, "recover", lambda *_, **__: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    network = nn.Linear(1, 1)
    recovery.alone(None, network, network, [], recipes.parse(RECIPE), lambda: None, threads=before + 1)  # type: ignore[arg-type]
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_networks_are_back_where_they_were_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[str] = []

    class Moving(nn.Linear):
        def to(self, device: str) -> Moving:  # type: ignore[override]
            moved.append(device)
            return self

        def cpu(self) -> Moving:
            moved.append("cpu")
            return self

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def interrupted() -> None:
        with lent_device(Moving(1, 1), Moving(1, 1)) as part:
            moved.append(f"trains on {part.device}")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        interrupted()
    assert moved == ["cuda", "cuda", "trains on cuda", "cpu", "cpu"]
