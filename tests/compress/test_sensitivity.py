"""What each part of a network costs, and what the search makes of it."""

import copy

import pytest

from bigray.compress import sensitivity, space
from bigray.compress.base import ConversionError
from bigray.compress.methods import prune_structured
from bigray.compress.methods.prune_structured import Config
from bigray.recipe import Compress
from bigray.results import LayerCost
from tests import networks
from tests.tasks.test_text_classification import prepared


def cost(layer: str, drop: float, saved: float) -> LayerCost:
    return LayerCost(layer=layer, drop_points=drop, saved_ms=saved, whole_ms=10.0)


def test_dear_is_what_loses_much_and_saves_little():
    costs = [cost("cheap", 1, 5), cost("dear", 20, 2), cost("useless", 4, -0.5), cost("free", -1, 1)]
    assert sensitivity.dearest(costs) == ["useless", "dear", "cheap", "free"]


@pytest.mark.parametrize("make", [networks.residual, networks.bert, networks.text_cnn, networks.lstm])
def test_each_group_can_be_pruned_alone_and_all_but_it_are_left_alone(make):
    program = make()
    names = prune_structured.groups(program, [], networks.samples(program))
    assert len(names) >= 1
    assert len(set(names)) == len(names)
    before = {name: value.shape for name, value in program.network.state_dict().items()}
    narrowed = set()
    for name in names:
        one = copy.deepcopy(program.network)
        part = networks.Program(**{**vars(program), "network": one})
        others = ",".join(other for other in names if other != name)
        try:
            prune_structured.METHOD.prune(part, Config(ratio=0.5, skip=others), [], networks.samples(part))
        except ConversionError:
            continue
        changed = {key for key, value in one.state_dict().items() if value.shape != before[key]}
        assert any(key.startswith(name) for key in changed)
        assert not any(
            key.startswith(f"{other}.") and key.endswith("bias") for other in names if other != name for key in changed
        )
        narrowed.add(name)
    assert narrowed
    everything = Config(ratio=0.5, skip=",".join(names))
    with pytest.raises(ConversionError, match="removed nothing"):
        prune_structured.METHOD.prune(program, everything, [], networks.samples(program))


def test_the_search_may_spare_the_dearest_layers_and_tries_that_early():
    task = prepared("cnn")[0]
    plain = space.build(Compress(methods=["prune_structured", "quantize_static"]), task)
    spared = plain.sparing(["a", "b", "c", "d"])
    assert spared.ranges["prune_structured"]["skip"] == ["", "a", "a,b"]
    steps = [step for params in spared.first()[:6] for step in spared.plan(params).steps]
    assert {"a", "a,b"} <= {step.knobs.get("skip") for step in steps}
    assert plain.sparing(["a"]) is plain
    said = space.build(Compress(methods=[{"name": "prune_structured", "knobs": {"skip": "x"}}]), task)
    assert said.sparing(["a", "b"]).ranges["prune_structured"]["skip"] == "x"
    other = space.build(Compress(methods=["quantize_static"]), task)
    assert other.sparing(["a", "b"]).first() == other.first()
