"""Ray Serve applications: one per model at ``/models/NAME``, and the console and the list of models at ``/``.

``build`` is what a Serve YAML names as ``import_path: bigray.serve.app:build``. HTTP, batching and engine stand in ONE
deployment: each hop between deployments costs more than a small model does. This file has no postponed annotations,
because Serve looks for the type of the builder's argument.
"""

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from ray import serve
from ray.serve import metrics
from ray.serve.config import BackpressureConfig
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response

from bigray.artifact import Artifact
from bigray.engines.base import on_gpu
from bigray.errors import RecipeError
from bigray.recipe import Name, Serve
from bigray.schemas import Wire
from bigray.serve import lean, live, loopback, scaling
from bigray.serve.batcher import Answers
from bigray.serve.canary import Rows
from bigray.serve.index import APPLICATION, Index
from bigray.serve.link import Link
from bigray.serve.replica import Replica

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
    """Arguments of `index` in a Serve YAML."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    runs: str | None = None
    """Folder of runs for the console to show; by default ``BIGRAY_RUNS``, or ``runs`` where the index starts."""


# the edge writes a log of requests that says more, see `bigray.serve.edge`
@serve.deployment(logging_config={"enable_access_log": False})
class Model:
    """One replica of one model."""

    def __init__(self, artifact: str, name: str, settings: dict[str, Any]) -> None:
        loopback.keep()
        lean.allow()
        window = live.Window()
        meter = live.WatchedMeter(name, metrics, window)
        self._replica = Replica.open(artifact, name, Serve.model_validate(settings), meter)
        self._live = live.Reporter(window, self._tell)
        self._name = name
        self._index: DeploymentHandle | None = None
        self._origin = artifact, settings
        self._link = Link(self._replica)

    async def __call__(self, request: Request) -> Response:
        """Answer one HTTP request."""
        self._link.start()
        return await self._replica.answer(request)

    async def describe(self) -> dict[str, Any]:
        """Say what is served, for the list of models."""
        return self._replica.describe()

    async def answer_rows(self, rows: Rows, parameters: Wire | None, left_s: float) -> tuple[Answers, float]:
        """Answer rows for the present version, as a canary; return the ms that it took, too."""
        began = time.monotonic()
        answers = await self._replica.batcher.submit(rows, parameters, began + left_s)
        return answers, (time.monotonic() - began) * 1000

    async def origin(self) -> tuple[str, str, dict[str, Any], str]:
        """Return version, artifact folder, settings, and the name of the run that made it."""
        return self._replica.version, *self._origin, self._replica.manifest.name

    async def check_health(self) -> None:
        """Raise when the model does not infer any more; Serve then replaces this replica. Asked before all requests."""
        self._live.start()
        await self._replica.check_health()

    async def _tell(self, replica: str, told: dict[str, Any]) -> None:
        # the look-up asks Serve's controller, and waits for the answer
        index: Any = self._index or await asyncio.to_thread(serve.get_app_handle, APPLICATION)
        self._index = index
        await index.hear.remote(self._name, replica, told)


def build(args: ServeArgs) -> serve.Application:
    """Return the application of one model. Reads the artifact's manifest here, and verifies its files in each replica.

    Raises:
        ArtifactError: No artifact at that path.
        RecipeError: A setting that ``serve`` does not have, a value out of range, or a p95 that cannot be kept.
    """
    manifest = Artifact.open(args.artifact, verify=False).manifest
    settings = merged(manifest.recipe.get("serve") or {}, args.settings)
    deployment = Model.options(name=manifest.task, **options(settings, manifest.latency, manifest.engine))  # type: ignore[attr-defined]
    application: serve.Application = deployment.bind(args.artifact, args.name, settings.model_dump(mode="json"))
    return application


def index(args: IndexArgs) -> serve.Application:
    """Return the application of the console and the list of models; its route_prefix is ``/``."""
    application: serve.Application = (
        serve.deployment(Index).options(name="index", ray_actor_options={"num_cpus": 0}).bind(args.runs)
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


def options(settings: Serve, latency: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """Translate the settings into options of a Serve deployment; ``latency`` and ``engine`` are the artifact's."""
    gpus = {"num_gpus": settings.gpus} if on_gpu(engine) else {}
    return {
        **scaling.options(settings, latency),
        "max_ongoing_requests": settings.max_ongoing_requests,
        "max_queued_requests": settings.max_queued_requests,
        "backpressure_config": BackpressureConfig(status_code=503, retry_after_s=RETRY_AFTER_S),
        "graceful_shutdown_timeout_s": math.ceil(settings.timeout_s) + 5,
        "graceful_shutdown_wait_loop_s": 0.5,
        "health_check_period_s": 10,
        "health_check_timeout_s": 30,
        # a new version starts before the old one stops, so a model of one replica has no gap either
        "max_surge_percent": 100 if settings.max_replicas == 1 else 50,
        "ray_actor_options": {"num_cpus": settings.cpus, **gpus, "runtime_env": lean.environment()},
    }
