"""Ray Serve applications: one per model at ``/models/NAME``, and the list of models at ``/``.

``build`` is what a Serve YAML names as ``import_path: bigray.serve.app:build``. HTTP, batching and engine stand in ONE
deployment: each hop between deployments costs more than a small model does. This file has no postponed annotations,
because Serve looks for the type of the builder's argument.
"""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from ray import serve
from ray.serve import metrics
from ray.serve.config import BackpressureConfig
from starlette.requests import Request
from starlette.responses import Response

from bigray.artifact import Artifact
from bigray.errors import RecipeError
from bigray.recipe import Name, Serve
from bigray.serve.index import Index
from bigray.serve.observe import PrometheusMeter
from bigray.serve.replica import Replica

UPSCALE_DELAY_S, DOWNSCALE_DELAY_S = 5.0, 120.0
"""How long load must be above (below) the target before replicas are added (taken away)."""
RETRY_AFTER_S = 1
"""What a refused caller is told to wait."""


class ServeArgs(BaseModel):
    """Arguments of `build` in a Serve YAML."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    artifact: str
    """Folder of the artifact; every node that may hold a replica, and the head, must see it at this path."""
    name: Name
    """Name of the model; the application's route_prefix must be ``/models/NAME``."""
    settings: dict[str, Any] = {}
    """Fields of the recipe's ``serve`` section to set otherwise than the artifact's own recipe did."""


class IndexArgs(BaseModel):
    """Arguments of `index` in a Serve YAML: none."""

    model_config = ConfigDict(extra="forbid")


# the edge writes a log of requests that says more, see `bigray.serve.edge`
@serve.deployment(logging_config={"enable_access_log": False})
class Model:
    """One replica of one model."""

    def __init__(self, artifact: str, name: str, settings: dict[str, Any]) -> None:
        meter = PrometheusMeter(name, metrics)
        self._replica = Replica.open(artifact, name, Serve.model_validate(settings), meter)

    async def __call__(self, request: Request) -> Response:
        """Answer one HTTP request."""
        return await self._replica.answer(request)

    async def describe(self) -> dict[str, Any]:
        """Say what is served, for the list of models."""
        return self._replica.describe()

    async def check_health(self) -> None:
        """Raise when the model does not infer any more; Serve then replaces this replica."""
        await self._replica.check_health()


def build(args: ServeArgs) -> serve.Application:
    """Return the application of one model. Reads the artifact's manifest here, and verifies its files in each replica.

    Raises:
        ArtifactError: No artifact at that path.
        RecipeError: A setting that ``serve`` does not have, or a value out of range.
    """
    manifest = Artifact.open(args.artifact, verify=False).manifest
    settings = merged(manifest.recipe.get("serve") or {}, args.settings)
    deployment = Model.options(name=manifest.task, **options(settings))  # type: ignore[attr-defined]
    application: serve.Application = deployment.bind(args.artifact, args.name, settings.model_dump(mode="json"))
    return application


def index(args: IndexArgs) -> serve.Application:
    """Return the application that lists the models; its route_prefix is ``/``."""
    application: serve.Application = (
        serve.deployment(Index).options(name="index", ray_actor_options={"num_cpus": 0}).bind()
    )
    return application


def merged(own: dict[str, Any], over: dict[str, Any]) -> Serve:
    """Return the artifact's settings with those of the caller on top."""
    try:
        return Serve.model_validate({**own, **over})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(sorted(Serve.model_fields))
        raise RecipeError(f"serve.{where}: {first['msg']}. Known: {known}.", pointer=f"serve.{where}") from None


def options(settings: Serve) -> dict[str, Any]:
    """Translate the settings into options of a Serve deployment."""
    scale: dict[str, Any] = {"num_replicas": settings.max_replicas}
    if settings.min_replicas != settings.max_replicas:
        scale = {
            "autoscaling_config": {
                "min_replicas": settings.min_replicas,
                # even a model that may scale to zero starts once, so that a bad one is found when it is deployed
                "initial_replicas": max(1, settings.min_replicas),
                "max_replicas": settings.max_replicas,
                "target_ongoing_requests": settings.target_ongoing_requests,
                "upscale_delay_s": UPSCALE_DELAY_S,
                "downscale_delay_s": DOWNSCALE_DELAY_S,
            }
        }
    return {
        **scale,
        "max_ongoing_requests": settings.max_ongoing_requests,
        "max_queued_requests": settings.max_queued_requests,
        "backpressure_config": BackpressureConfig(status_code=503, retry_after_s=RETRY_AFTER_S),
        "graceful_shutdown_timeout_s": math.ceil(settings.timeout_s) + 5,
        "graceful_shutdown_wait_loop_s": 0.5,
        "health_check_period_s": 10,
        "health_check_timeout_s": 30,
        # a new version starts before the old one stops, so a model of one replica has no gap either
        "max_surge_percent": 100 if settings.max_replicas == 1 else 50,
        "ray_actor_options": {"num_cpus": settings.cpus},
    }
