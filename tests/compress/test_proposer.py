"""Proposals: none twice, and after being killed at any moment the same ones go on."""

from dataclasses import replace

import optuna
import pytest

from bigray.compress import space
from bigray.compress.proposer import Proposer
from bigray.recipe import Compress
from tests.tasks.test_text_classification import prepared

optuna.logging.set_verbosity(optuna.logging.WARNING)
OBJECTIVES = {"drop_points": "min", "speedup": "max"}


@pytest.fixture(scope="module")
def plans():
    wanted = Compress(methods=["prune_structured", "quantize_static", "quantize_dynamic"])
    return space.build(wanted, prepared("cnn")[0])


def start(plans, folder, total=14, seed=0):
    return Proposer(plans, OBJECTIVES, plans.first()[:4], total, seed, folder / "ledger.jsonl")


def outcome(params):
    """Something that depends on the parameters alone."""
    share = params.get("prune_structured.ratio", 0.0) if params.get("use.prune_structured") else 0.0
    return {"drop_points": share**2 * 10, "speedup": 1 + 3 * share + (params["engine"] == "openvino")}


def go_on(proposer, steps):
    asked = []
    for number in range(steps):
        params = proposer.suggest(f"t{number}-{id(proposer)}")
        if params == "FINISHED":
            break
        asked.append(params)
        proposer.on_trial_complete(f"t{number}-{id(proposer)}", outcome(params))
    return asked


def test_no_plan_is_proposed_twice_and_the_total_holds(plans, tmp_path):
    asked = go_on(start(plans, tmp_path), 100)
    assert len(asked) == 14
    assert len({plans.plan(params).key for params in asked}) == 14
    assert asked[:4] == plans.first()[:4]


def test_killed_twice_it_proposes_what_it_would_have(plans, tmp_path):
    whole = go_on(start(plans, tmp_path / "whole"), 100)
    part = tmp_path / "part"
    asked = go_on(start(plans, part), 5)
    second = start(plans, part)
    assert second.left == 9
    asked += go_on(second, 5)
    third = start(plans, part)
    lost = third.suggest("killed")  # proposed, and the driver dies before it ends
    assert start(plans, part).left == 4
    rest = go_on(start(plans, part), 100)
    assert rest[0] == lost
    assert asked + rest == whole


def test_a_line_cut_off_by_a_crash_is_no_harm(plans, tmp_path):
    whole = go_on(start(plans, tmp_path / "whole"), 100)
    part = tmp_path / "part"
    asked = go_on(start(plans, part), 6)
    with (part / "ledger.jsonl").open("a") as file:
        file.write('{"proposal": 6, "par')
    assert asked + go_on(start(plans, part), 100) == whole


def test_more_trials_go_on_after_the_first_ones(plans, tmp_path):
    assert len(go_on(start(plans, tmp_path, total=6), 100)) == 6
    assert start(plans, tmp_path, total=6).left == 0
    assert len(go_on(start(plans, tmp_path, total=9), 100)) == 3


def test_a_space_that_is_used_up_ends_the_search(tmp_path):
    few = space.build(Compress(methods=["bfloat16"], engines=["openvino"]), prepared("cnn")[0])
    asked = go_on(start(few, tmp_path, total=50), 100)
    assert 1 <= len(asked) <= 4


def test_what_is_not_to_be_had_any_more_is_left_aside(plans, tmp_path):
    go_on(start(plans, tmp_path), 8)
    start(plans, tmp_path).suggest("killed")
    fewer = {engine: tuple(one for one in graphs if one != "quantize_static") for engine, graphs in plans.graph.items()}
    left = replace(plans, graph={"openvino": fewer["openvino"]})
    proposer = start(left, tmp_path)
    assert proposer.left > 6
    asked = go_on(proposer, 100)
    assert asked
    for params in asked:
        assert params["engine"] == "openvino"
        assert params["graph.openvino"] != "quantize_static"
    other = replace(plans, ranges={**plans.ranges, "quantize_dynamic": {"group_size": [64, 256]}})
    sizes = [params.get("quantize_dynamic.group_size") for params in go_on(start(other, tmp_path, total=20), 100)]
    assert {64, 256} & {*sizes}
    assert not {32, 128} & {*sizes}


def test_another_seed_proposes_otherwise(plans, tmp_path):
    one, other = go_on(start(plans, tmp_path / "a"), 100), go_on(start(plans, tmp_path / "b", seed=1), 100)
    assert one[:4] == other[:4]
    assert one != other


def test_a_small_space_is_used_up_though_the_sampler_comes_back_to_its_best(tmp_path):
    knobs = {"ratio": [0.2, 0.4, 0.6], "importance": "magnitude"}
    methods = [{"name": "prune_structured", "knobs": knobs}, {"name": "quantize_static", "knobs": {"preset": "mixed"}}]
    small = space.build(Compress(methods=methods), prepared("cnn")[0])
    assert len(go_on(start(small, tmp_path, total=16), 100)) == (1 + 3) * 2 * 2
