"""Replicas: from a stated p95 to Serve's target, and what cannot be kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from bigray import capacity
from bigray.errors import RecipeError
from bigray.recipe import Serve
from bigray.serve import app, scaling

LATENCY = {"model": [{"batch_size": 1, "p50_ms": 4.0}, {"batch_size": 16, "p50_ms": 34.0}]}


def test_target_keeps_the_p95() -> None:
    settings = Serve(p95_ms=40, min_replicas=0, max_replicas=8)
    scale = scaling.options(settings, LATENCY)["autoscaling_config"]
    assert scale["target_ongoing_requests"] == capacity.ongoing_within([(1, 4.0), (16, 34.0)], 40)
    assert (scale["min_replicas"], scale["initial_replicas"], scale["max_replicas"]) == (0, 1, 8)


def test_target_as_stated_or_by_default() -> None:
    assert scaling.target(Serve(target_ongoing_requests=2), {}) == 2
    assert scaling.target(Serve(), {}) == scaling.TARGET
    with pytest.raises(ValidationError, match="state one"):
        Serve(p95_ms=80, target_ongoing_requests=2)


def test_what_cannot_be_kept(text_artifact: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"One inference takes 4 ms.* more than the 3 ms.*raise serve.p95_ms"
    ) as caught:
        scaling.options(Serve(p95_ms=3, min_replicas=2), LATENCY)
    assert caught.value.pointer == "serve.p95_ms"
    args = app.ServeArgs(artifact=str(text_artifact), name="a", settings={"p95_ms": 80})
    with pytest.raises(RecipeError, match=r"no measured times.*target_ongoing_requests"):  # no search made this one
        app.build(args)
