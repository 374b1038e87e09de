"""The measure of the search: volumes of known boxes, a grid without repeats, and a replay that spends what it may."""

from __future__ import annotations

import pytest

from benchmarks.measures import hypervolume
from benchmarks.measures.hypervolume import WORST_DROP, _costs, _grid, _proposed, _spend, volume
from bigray.compress import space
from bigray.compress.space import Space
from bigray.recipe import Compress
from bigray.results import Trial, Variant
from tests.tasks.test_text_classification import prepared


def trial(drop: float, speedup: float, size: int, seconds: float = 1.0) -> Trial:
    variant = Variant(engine="openvino", speedup=speedup, size_bytes=size)
    return Trial(number=0, status="ok", variant=variant, drop_points=drop, seconds=seconds)


@pytest.fixture(scope="module")
def plans() -> Space:
    methods = [
        {"name": "prune_structured", "knobs": {"ratio": [0.2, 0.4, 0.6], "importance": "magnitude"}},
        {"name": "quantize_static", "knobs": {"preset": "mixed"}},
    ]
    return space.build(Compress.model_validate({"methods": methods}), prepared("cnn")[0])


def test_the_volume_of_boxes_that_overlap() -> None:
    half = trial(0.5 * WORST_DROP, 2.0, 500)
    assert volume([half], 1000) == pytest.approx(0.125)
    flat = trial(0.0, 4 / 3, 750)  # 1 x 0.25 x 0.25, of which 0.5 x 0.25 x 0.25 is in the other
    assert volume([half, flat], 1000) == pytest.approx(0.125 + 0.03125)
    assert volume([half, flat, trial(0.6 * WORST_DROP, 1.5, 900)], 1000) == pytest.approx(0.125 + 0.03125)
    assert volume([trial(0.0, 0.9, 100), trial(99.0, 9.0, 100)], 1000) == 0
    assert volume([trial(-1.0, 1e9, 0)], 1000) == pytest.approx(1.0)


def test_the_grid_holds_every_plan_once(plans: Space) -> None:
    keys = [plans.plan(params).key for params in _grid(plans)]
    assert len(keys) == len(set(keys)) == (1 + 3) * 2 * 2  # pruning x quantized or not x engines


def test_a_replay_learns_from_the_record_and_ends_with_the_budget(plans: Space) -> None:
    record = {}
    for number, params in enumerate(_grid(plans)):
        share = params["prune_structured.ratio"] if params["use.prune_structured"] else 0.0
        record[plans.plan(params).key] = trial(10 * share**2, 1.5 + share, 1000 - number, seconds=2.0)
    found = _spend((record[key] for key in _proposed(plans, record, seed=0)), budget=9.0)
    assert len(found) == 4
    assert len({id(one) for one in found}) == 4
    assert len(list(_proposed(plans, record, seed=1))) == len(record)
    assert _costs(found[0])["speedup"] == found[0].variant.speedup
    assert hypervolume.SEEDS == 5
