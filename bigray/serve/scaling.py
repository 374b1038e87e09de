"""How many replicas a model has, and when it gets more: from a stated p95, by the times that the search measured.

Serve adds replicas when more requests are in progress per replica than a target. Which target keeps a p95 follows from
the time of each batch size and a simulated queue (`bigray.capacity`). The target is worked out once, when the model is
deployed, and not steered by the p95 of the running service: that one also rises with a slow network of callers or a
busy machine, which more replicas would not mend.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bigray import capacity
from bigray.errors import ArtifactError, RecipeError, UserError
from bigray.recipe import Serve

TARGET = 4.0
"""Requests in progress per replica where nothing is stated."""
UPSCALE_DELAY_S, DOWNSCALE_DELAY_S = 5.0, 120.0
"""How long load must be above (below) the target before replicas are added (taken away)."""
COUNT_EVERY_S = 0.5
"""How often Serve is told of the requests in progress; by itself it waits up to 10 s."""


def options(settings: Serve, latency: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Serve is told of the number of replicas.

    Args:
        settings: Of the model.
        latency: Measured times, as the artifact's manifest has them.

    Raises:
        RecipeError: As `target`.
    """
    aim = target(settings, latency)
    if settings.min_replicas == settings.max_replicas:
        return {"num_replicas": settings.max_replicas}
    return {
        "autoscaling_config": {
            "min_replicas": settings.min_replicas,
            # even a model that may scale to zero starts once, so that a bad one is found when it is deployed
            "initial_replicas": max(1, settings.min_replicas),
            "max_replicas": settings.max_replicas,
            "target_ongoing_requests": aim,
            # whoever wakes a sleeping model waits for both: to be counted, and for the decision
            "metrics_interval_s": COUNT_EVERY_S,
            "upscale_delay_s": UPSCALE_DELAY_S if settings.min_replicas else 0.0,
            "downscale_delay_s": DOWNSCALE_DELAY_S,
        }
    }


def target(settings: Serve, latency: Mapping[str, Any]) -> float:
    """Return the requests in progress per replica to aim at.

    Raises:
        RecipeError: A p95 is stated that no number of replicas keeps, or for an artifact without measured times.
    """
    if settings.p95_ms is None:
        return settings.target_ongoing_requests or TARGET
    try:
        times = capacity.points(latency)
        return capacity.ongoing_within(times, settings.p95_ms, settings.max_batch_size)
    except ArtifactError as error:
        told = f"serve.p95_ms is {settings.p95_ms:g}, and {error} Or state serve.target_ongoing_requests instead."
    except UserError as error:
        told = f"serve.p95_ms: {error} Or raise serve.p95_ms."
    raise RecipeError(told, pointer="serve.p95_ms")
