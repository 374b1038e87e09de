"""The search space: what it allows, what it leaves out and why, and what it tries first."""

from dataclasses import replace

import optuna
import pytest

from bigray.compress import space
from bigray.errors import RecipeError, UnknownPlugin
from bigray.recipe import Compress, Data
from tests.tasks import test_image_classification
from tests.tasks.test_text_classification import prepared

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="module")
def task():
    return prepared("cnn")[0]


def settings(*methods, **more):
    return Compress(methods=list(methods), **more)


def test_every_sample_is_a_valid_plan_and_equal_ones_share_a_key(task):
    found = space.build(settings("prune_structured", "quantize_static", "quantize_dynamic"), task)
    study = optuna.create_study()
    keys = {}
    for _ in range(40):
        trial = study.ask()
        found.sample(trial)
        plan = found.plan(trial.params)
        assert keys.setdefault(plan.key, plan) == plan
        stages = [space.method(step.method).stage for step in plan.steps]
        assert stages == sorted(stages, reverse=True)  # network before graph
        assert stages.count("graph") <= 1
    assert len(keys) > 10


def test_first_plans_are_valid_different_and_begin_with_the_best_known(task):
    found = space.build(settings("prune_structured", "quantize_static", "quantize_dynamic"), task)
    plans = [found.plan(params) for params in found.first()]
    assert len({plan.key for plan in plans}) == len(plans)
    assert plans[0].engine == "openvino"
    assert [step.method for step in plans[0].steps] == ["quantize_static"]


def test_network_methods_stand_in_order_and_are_first_tried_one_by_one():
    image = test_image_classification.TASK.prepare(
        Data(train="x"), test_image_classification.MODEL, test_image_classification.ROWS
    )
    found = space.build(settings("prune_structured", "drop_layers", "quantize_static"), image)
    assert found.network == ("drop_layers", "prune_structured")
    plans = [found.plan(params) for params in found.first()]
    assert len({plan.key for plan in plans}) == len(plans)
    used = [[step.method for step in plan.steps if step.method in found.network] for plan in plans]
    assert ["drop_layers"] in used
    assert ["prune_structured"] in used
    assert max(map(len, used)) == 1
    both = {key: value for params in found.first() for key, value in params.items()}
    both |= {"use.prune_structured": True, "use.drop_layers": True}
    assert [step.method for step in found.plan(both).steps][:2] == ["drop_layers", "prune_structured"]


def test_methods_that_find_nothing_to_do_are_left_out(task):
    found = space.build(settings("low_rank", "quantize_aware", "quantize_static"), task)
    ends = found.ends()
    assert list(ends) == ["low_rank", "quantize_aware"]  # what changes graphs has nothing to say about networks
    assert [one.knobs["rank_ratio"] for one in ends["low_rank"]] == list(found.ranges["low_rank"]["rank_ratio"])
    less = found.without({"low_rank": "it has no layers", "quantize_aware": "nor weights"})
    assert less.network == ()
    assert less.graph == {"openvino": ("quantize_static",), "onnxruntime": ("quantize_static",)}
    assert less.left_out[-2:] == ("method low_rank: it has no layers", "method quantize_aware: nor weights")


def test_what_needs_no_training_is_added_to_the_second_try_of_each_method(task):
    found = space.build(settings("drop_layers", "prune_structured", "quantize_dynamic"), task)
    found = replace(found, network=("drop_layers", "trim_vocabulary", "prune_structured"))
    found = replace(
        found, ranges={**found.ranges, "trim_vocabulary": {"min_count": 1, "unseen": ["unknown", "nearest"]}}
    )
    plans = [found.plan(params) for params in found.first()]
    used = [[step.method for step in plan.steps if step.method in found.network] for plan in plans]
    assert [one for one in used if one] == [
        ["drop_layers"],
        ["trim_vocabulary"],
        ["prune_structured"],
        ["drop_layers", "trim_vocabulary"],
        ["trim_vocabulary", "prune_structured"],
    ]


def test_fixed_knobs_and_ranges_of_the_recipe_hold(task):
    wanted = {"name": "prune_structured", "knobs": {"ratio": [0.1, 0.2]}}
    found = space.build(settings(wanted), task)
    assert found.ranges["prune_structured"]["ratio"] == (0.1, 0.2)
    fixed = space.build(settings({"name": "prune_structured", "knobs": {"ratio": 0.4}}), task)
    params = {"engine": "openvino", "use.prune_structured": True, "prune_structured.importance": "taylor"}
    assert fixed.plan(params).steps[0].knobs["ratio"] == 0.4


@pytest.mark.parametrize(
    ("method", "error", "words"),
    [
        ({"name": "prune_structurd"}, UnknownPlugin, "prune_structured"),
        ({"name": "prune_structured", "knobs": {"ration": 0.2}}, RecipeError, "unknown knob"),
        ({"name": "prune_structured", "knobs": {"ratio": 7}}, RecipeError, "ratio"),
        ({"name": "prune_structured", "knobs": {"ratio": [0.1, 7]}}, RecipeError, "ratio"),
    ],
)
def test_wrong_knobs_are_refused_by_name(task, method, error, words):
    with pytest.raises(error, match=words):
        space.build(settings(method), task)


def test_engines_that_are_not_there_are_left_out_with_the_reason(task, monkeypatch):
    from bigray.engines import onnxruntime

    monkeypatch.setattr(type(onnxruntime.ENGINE), "available", lambda self: "it was taken out by a test.")
    found = space.build(settings("quantize_static"), task)
    assert set(found.graph) == {"openvino"}
    assert any("taken out by a test" in sentence for sentence in found.left_out)
    with pytest.raises(RecipeError, match="none can be used here"):
        space.build(settings("quantize_static", engines=["onnxruntime"]), task)


def test_no_methods_still_leaves_the_engines(task):
    found = space.build(settings(), task)
    plans = [found.plan(params) for params in found.first()]
    assert all(plan.steps == () for plan in plans)


def test_two_choices_are_no_range(task):
    wanted = {"methods": [{"name": "quantize_aware", "knobs": {"bits": [4, 8], "skip": [0.1, 0.2]}}]}
    found = space.build(Compress.model_validate(wanted), task)
    assert found.ranges["quantize_aware"]["bits"] == [4, 8]
    assert found.ranges["quantize_aware"]["skip"] == (0.1, 0.2)
    assert all(space.knob_ranges(one)["bits"] == [4, 8] for one in Compress.model_validate(wanted).methods)
