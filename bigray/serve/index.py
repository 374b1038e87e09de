"""What stands at ``/``: the console for people, and lists for programs and for clients that look for a model by task.

::

    GET /          names and addresses; to browsers the console, with its files below /console/
    GET /models    {"object": "list", "data": [{"id", "object", "task", "engine", "status", "url", "canary", ...}]}
    GET /live      requests, times and failures of the last minute, per model
    GET /runs      training runs: state, stage, epochs
    GET /healthz   200

Every other path is answered 404 in the dialect it belongs to, a problem document where it belongs to none.
"""

import asyncio
import math
import os
import time
from pathlib import Path
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bigray.errors import BigrayError, MethodNotAllowed, NotFound, ServiceError
from bigray.runs import Runs
from bigray.serve import doors, link, live, loopback, pages
from bigray.serve.problems import problem_response, request_id

CACHE_S = 1.0
"""Age at which the list is asked for again."""
APPLICATION = "_index"
"""Name of the application; no model can be called so."""
RUNS = "BIGRAY_RUNS"
"""Environment variable: folder of runs to show."""
_KEPT = ("task", "engine", "steps", "labels", "version", "created")
_ASK_TIMEOUT_S = 3.0


class Index:
    """Lists the models that run, and what else the console shows."""

    def __init__(self, runs: str | None = None) -> None:
        loopback.keep()
        self._runs = Runs(Path(runs or os.environ.get(RUNS, "runs")))
        self._board = live.Board()
        self._models: list[dict[str, Any]] = []
        self._read_at = -CACHE_S
        self._known: dict[tuple[str, float], dict[str, Any]] = {}
        """Application and time of its deployment -> what its replica said of it."""
        self._lock = asyncio.Lock()

    async def __call__(self, request: Request) -> Response:
        """Answer one HTTP request."""
        identity = request_id(request.headers.get("x-request-id"))
        try:
            response = await self._route(request)
        except BigrayError as error:
            allowed = {"allow": "GET, HEAD"} if isinstance(error, MethodNotAllowed) else None
            dialect = doors.speaking(request.url.path)
            response = problem_response(error, identity, allowed, dialect.problem(error, identity) if dialect else None)
        except Exception:
            response = problem_response(ServiceError("The list of models cannot be read now."), identity)
        if "x-request-id" not in request.headers:
            response.headers["x-request-id"] = identity
        return response

    async def _route(self, request: Request) -> Response:
        accept = request.headers.getlist("accept")
        if (name := pages.name_of(request.method, request.url.path, accept)) is not None:
            return pages.answer(name, request.headers.get("if-none-match"))
        path = request.url.path.rstrip("/")
        if path not in {"", "/models", "/live", "/runs", "/healthz"}:
            if path.startswith("/models/"):
                raise NotFound("There is no model of this name. GET /models lists them.")
            raise NotFound("There is no such path. GET / says what there is.")
        if request.method not in {"GET", "HEAD"}:
            raise MethodNotAllowed("Use GET here, and POST at the address of a model.")
        if path == "/healthz":
            return JSONResponse({"status": "ok"})
        if path == "/runs":
            found = await asyncio.to_thread(self._runs.read)
            return JSONResponse({"object": "list", "data": [_finite(run.model_dump(mode="json")) for run in found]})
        models = await self._list()
        if path == "/live":
            numbers = self._board.summary(model["id"] for model in models)
            return JSONResponse({"window_s": live.WINDOW_S, "models": numbers})
        if path == "/models":
            return JSONResponse({"object": "list", "data": models})
        return JSONResponse({"service": "bigray", "models": {model["id"]: model["url"] for model in models}})

    async def hear(self, model: str, replica: str, told: dict[str, Any]) -> None:
        """Take the numbers of a replica; see `bigray.serve.live`."""
        self._board.hear(model, replica, told)

    async def _list(self) -> list[dict[str, Any]]:
        async with self._lock:
            if time.monotonic() - self._read_at >= CACHE_S:
                status = await asyncio.to_thread(serve.status)
                own = {name: app for name, app in status.applications.items() if not name.startswith("_")}
                self._models = [await self._describe(name, app) for name, app in sorted(own.items())]
                if link.APPLICATION in status.applications:
                    trials = await self._canaries()
                    self._models = [one | trials.get(one["id"], {}) for one in self._models]
                self._read_at = time.monotonic()
            return self._models

    async def _canaries(self) -> dict[str, dict[str, Any]]:
        try:
            asked = serve.get_deployment_handle(link.DEPLOYMENT, link.APPLICATION, _check_exists=False)
            told = await asyncio.wait_for(asked.canaries.remote(), _ASK_TIMEOUT_S)
            return {name: {"canary": one} for name, one in told.items()}
        except Exception:  # the list is whole without them
            return {}

    async def _describe(self, name: str, app: Any) -> dict[str, Any]:
        key = (name, app.last_deployed_time_s)
        if key not in self._known and _running(app):  # asking a model of no replicas would start one
            self._known = {old: said for old, said in self._known.items() if old[0] != name}
            try:
                said = await asyncio.wait_for(serve.get_app_handle(name).describe.remote(), _ASK_TIMEOUT_S)
                self._known[key] = {field: said[field] for field in _KEPT}
            except Exception:  # the model is busy or going away; its name is listed all the same
                pass
        entry = {"id": name, "object": "model", "url": f"/models/{name}", "status": app.status.value}
        entry["replicas"] = {"running": _running(app), "wanted": _wanted(app)}
        return entry | self._known.get(key, {"task": next(iter(app.deployments), None), "engine": None})


def _running(app: Any) -> int:
    """Return how many replicas of an application answer."""
    return sum(
        count
        for deployment in app.deployments.values()
        for state, count in deployment.replica_states.items()
        if str(getattr(state, "value", state)) == "RUNNING"
    )


def _wanted(app: Any) -> int:
    return sum(
        count
        for deployment in app.deployments.values()
        for state, count in deployment.replica_states.items()
        if str(getattr(state, "value", state)) != "STOPPING"
    )


def _finite(value: Any) -> Any:
    """Return plain data with None for what JSON has no number for: a loss that ran away."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
