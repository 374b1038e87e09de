"""The steward of versions as a Serve deployment, and how Serve carries out what it decides.

One replica without a core of its own, on the head of the cluster, where its files are; Serve replaces it when it is lost.
A canary is an application of its own, without a route: only the present version's replicas reach it.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from functools import cache
from typing import Any

import httpx
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from bigray.artifact import Artifact
from bigray.errors import BigrayError, ServiceError
from bigray.serve import loopback
from bigray.serve.app import ServeArgs, build
from bigray.serve.canary import Plan, Window
from bigray.serve.link import APPLICATION, DEPLOYMENT
from bigray.serve.steward import LOOK_S, Steward
from bigray.serve.versions import Canary, Store, Version, state_folder

READY_S = 300.0
"""Longest wait for a version to become ready."""
ASK_S = 10.0
RAISED = re.compile(r"(\w+\.)*[A-Z]\w+: ")
"""Last line of a traceback."""
HEAD = {"node:__internal_head__": 0.001}
"""Resource that only the head of a Ray cluster has."""


class Rollouts:
    """The steward, as Serve runs it."""

    def __init__(self, port: int) -> None:
        loopback.keep()
        self._steward = Steward(Store(state_folder(port)), ServeHands())
        self._looking: asyncio.Task[None] | None = None

    async def exchange(self, name: str, version: str, window: Window) -> Plan | None:
        """See `Steward`."""
        self._look()
        return self._steward.exchange(name, version, window)

    async def history(self, name: str) -> dict[str, Any]:
        """Return what is known of a model, as JSON."""
        return self._steward.history(name).model_dump(mode="json")

    async def public(self, name: str) -> dict[str, Any]:
        """Return what callers may know of a model, as JSON."""
        return self._steward.history(name).public()

    async def canaries(self) -> dict[str, dict[str, Any]]:
        """See `Steward`."""
        return self._steward.canaries()

    async def deployed(self, name: str, version: Version) -> None:
        """See `Steward`."""
        self._look()
        await self._steward.deployed(name, version)

    async def failed(self, name: str, version: Version, reason: str) -> bool:
        """See `Steward`."""
        return await self._steward.failed(name, version, reason)

    async def taken_off(self, name: str) -> None:
        """See `Steward`."""
        await self._steward.taken_off(name)

    async def begin(self, name: str, canary: Canary) -> None:
        """See `Steward`."""
        self._look()
        await self._steward.begin(name, canary)

    async def promote(self, name: str) -> dict[str, Any]:
        """See `Steward`."""
        return (await self._steward.promote(name)).model_dump(mode="json")

    async def roll_back(self, name: str) -> dict[str, Any]:
        """See `Steward`."""
        return (await self._steward.roll_back(name)).model_dump(mode="json")

    async def check_health(self) -> None:
        """Keep looking."""
        self._look()

    def _look(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._keep_looking())

    async def _keep_looking(self) -> None:
        await self._steward.resume()
        while True:
            await self._steward.look()
            await asyncio.sleep(LOOK_S)


class ServeHands:
    """See `bigray.serve.steward.Hands`."""

    def start(self, name: str, version: Version) -> Plan:
        """Bring a canary up as an application without a route."""
        # one replica to begin with, whatever the model itself has: a canary has a share of the load
        args = ServeArgs(
            artifact=version.artifact, name=f"{name}.canary", settings=version.settings | {"min_replicas": 1}
        )
        put(serve.RunTarget(build(args), canary_name(name), None))
        task = Artifact.open(version.artifact, verify=False).manifest.task
        return Plan(canary_name(name), task, version.id, 0.0, 0.0, 0.0)

    def stop(self, name: str) -> None:
        """Delete that application."""
        if canary_name(name) in serve.status().applications:
            serve.delete(canary_name(name))

    def replace(self, name: str, version: Version) -> None:
        """Deploy over the name; Serve starts new replicas before it stops old ones."""
        args = ServeArgs(artifact=version.artifact, name=name, settings=version.settings)
        put(serve.RunTarget(build(args), name, f"/models/{name}"))

    def running(self, name: str) -> Version | None:
        """Ask a replica."""
        if name not in serve.status().applications:
            return None
        try:
            origin = _call(name, "origin", timeout_s=ASK_S)
        except (RayError, RayServeException, TimeoutError) as error:
            raise ServiceError(f"Model {name!r} does not answer: {type(error).__name__}.") from None
        return Version(id=origin[0], artifact=origin[1], settings=origin[2], name=origin[3])


def canary_name(name: str) -> str:
    """Return the name of the application of a model's canary; no model can be called so."""
    return f"_canary-{name}"


def put(target: serve.RunTarget, limit_s: float = READY_S) -> None:
    """Deploy one application and wait until it is ready.

    Raises:
        ServiceError: It failed, with the replica's own words, or took longer than ``limit_s``.
    """
    serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
    until = time.monotonic() + limit_s
    while True:
        found = serve.status().applications.get(target.name)
        state = found.status.value if found is not None else "GONE"
        if state == "RUNNING":
            return
        if found is None or state in {"DEPLOY_FAILED", "DELETING"}:
            raise ServiceError(said(found) if found is not None else "it was taken off meanwhile")
        if time.monotonic() > until:
            raise ServiceError(f"It was not ready within {limit_s:g} s; are there cores left for it?")
        time.sleep(0.25)


def said(found: Any) -> str:
    """Return the error in Serve's report of a failed application: what a replica raised, without the frames."""
    messages: list[str] = [deployment.message for deployment in found.deployments.values()]
    lines: list[str] = [
        line.strip() for text in (found.message, *messages) for line in text.splitlines() if line.strip()
    ]
    raised = [line for line in lines if RAISED.match(line)]
    return (raised or lines or ["no reason was given"])[-1]


def target(port: int) -> serve.RunTarget:
    """Return the steward's application, for a service on that port."""
    deployment = serve.deployment(Rollouts).options(
        name=DEPLOYMENT, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0, "resources": HEAD}
    )
    return serve.RunTarget(deployment.bind(port), APPLICATION, None)


def ensure(url: str) -> None:
    """Start the steward of the service at ``url`` where it does not run (a Serve YAML does not start one)."""
    if APPLICATION not in serve.status().applications:
        put(target(httpx.URL(url).port or 80))


def not_ready(versions: dict[str, Version], error: Exception) -> ServiceError:
    """Return the error for deployments that failed, once the versions before them are made sure of."""
    told, kept = [], []
    for name, version in versions.items():
        found = serve.status().applications.get(name)
        if found is None or found.status.value == "DEPLOYING":
            continue
        if found.status.value == "RUNNING":
            ask("deployed", name, version)
            continue
        told.append(f"{name!r}: {said(found)}")
        if ask("failed", name, version, said(found)):
            kept.append(name)
    lines = str(error).strip().splitlines()
    reason = "; ".join(told) or (lines[-1] if lines else repr(error))
    stays = f" The version before goes on under {', '.join(map(repr, kept))}." if kept else ""
    return ServiceError(
        f"A model did not become ready: {reason}.{stays} The replica's log in Ray's session folder has the traceback."
    )


def taken_off(name: str) -> None:
    """Note that a model was taken off; its canary goes with it."""
    if APPLICATION in serve.status().applications:
        ask("taken_off", name)


def deployments(name: str) -> list[str]:
    """Return the deployments of a model; there is one, called as its task."""
    return list(serve.status().applications[name].deployments)


def _call(application: str, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
    """Call an application and wait."""

    async def asked() -> Any:
        async with asyncio.timeout(timeout_s):
            return await serve.get_app_handle(application).options(method_name=method).remote(*arguments)

    return asyncio.run_coroutine_threadsafe(asked(), _loop()).result()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the loop of all calls: where Serve is tuned for throughput, handles work on the first loop they see, and on no other."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="handles", daemon=True).start()
    return loop


def ask(method: str, *arguments: Any, timeout_s: float | None = None) -> Any:
    """Call the steward from a program that is no replica. Raises what it raises."""
    try:
        return _call(APPLICATION, method, *arguments, timeout_s=timeout_s)
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, BigrayError):
            raise cause from None
        raise ServiceError(f"The steward of versions failed: {cause!r}. Its log has the details.") from error
    except (RayError, RayServeException) as error:
        raise ServiceError(f"The steward of versions cannot be reached: {error}.") from error
